package lan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/portreeve/portreeve/lease"
)

// Multicast DNS (RFC 6762), as far as it takes to ask a machine what it is called.

// maxMDNS bounds an answer, which fits into a packet of any LAN.
const maxMDNS = 1500

// maxRecords bounds what is read of an answer. An honest one has a record for each address of the machine at most.
const maxRecords = 32

// nameQuestion is what the name of a machine is asked by: the reverse of its address.
func nameQuestion(addr netip.Addr) (dnsmessage.Question, error) {
	name, err := dnsmessage.NewName(reverseName(addr))
	return dnsmessage.Question{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}, err
}

// reverseName returns the name under which that of an address is found: RFC 1035, section 3.5, and RFC 3596, section 2.5.
func reverseName(addr netip.Addr) string {
	bytes := addr.WithZone("").Unmap().AsSlice()
	slices.Reverse(bytes)
	var text strings.Builder
	for _, b := range bytes {
		if len(bytes) == 4 {
			fmt.Fprintf(&text, "%d.", b)
		} else {
			fmt.Fprintf(&text, "%x.%x.", b&15, b>>4)
		}
	}
	if len(bytes) == 4 {
		return text.String() + "in-addr.arpa."
	}
	return text.String() + "ip6.arpa."
}

// mdnsQuery makes a packet of a question. It comes from a port of our own, so that it is answered to us and not to the whole LAN
// (RFC 6762, sections 5.5 and 6.7).
func mdnsQuery(id uint16, q dnsmessage.Question) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id})
	if err := errors.Join(b.StartQuestions(), b.Question(q)); err != nil {
		return nil, err
	}
	return b.Finish()
}

// mdnsName reads the name in an answer to a question, and for how long it holds. It is false if the packet is no answer to that,
// or one without a name that could be shown.
func mdnsName(packet []byte, id uint16, q dnsmessage.Question) (name string, ttl time.Duration, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || !h.Response || h.ID != id || h.RCode != dnsmessage.RCodeSuccess || p.SkipAllQuestions() != nil {
		return "", 0, false
	}
	for range maxRecords {
		r, err := p.AnswerHeader()
		if err != nil {
			return "", 0, false
		}
		// The highest bit of the class says that older names do not hold any more (section 10.2).
		if r.Type != dnsmessage.TypePTR || r.Class&^(1<<15) != dnsmessage.ClassINET || !strings.EqualFold(r.Name.String(), q.Name.String()) {
			if p.SkipAnswer() != nil {
				return "", 0, false
			}
			continue
		}
		body, err := p.PTRResource()
		if err != nil {
			return "", 0, false
		}
		if name := shownName(body.PTR.String()); name != "" {
			return name, time.Duration(r.TTL) * time.Second, true
		}
	}
	return "", 0, false
}

// shownName makes of a name in the DNS one for people, "" if it cannot be one: what looks like an address would be taken for that
// of another machine.
func shownName(full string) string {
	name := lease.CleanText(full, len(full))
	name = strings.TrimSuffix(name, ".")
	if short, ok := strings.CutSuffix(strings.ToLower(name), ".local"); ok {
		name = name[:min(len(short), len(name))]
	}
	name = lease.CleanText(name, maxNameBytes)
	if _, err := netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") || strings.HasSuffix(strings.ToLower(name), ".arpa") {
		return ""
	}
	return name
}
