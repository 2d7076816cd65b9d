package ssdp

import (
	"strconv"
	"strings"
	"time"
)

// Limits of what is read of a search.
const (
	maxPacket  = 1500 // one Ethernet frame; searches have about 100 bytes
	maxHeaders = 32
)

// search is an M-SEARCH request (UDA 1.1, section 1.3.2).
type search struct {
	target string // header ST

	// wait is header MX, the time within which the client wants the answers: 1 to 5 s for a search that was
	// multicast, 0 (at once) for one that was sent to our address, where MX has no meaning.
	wait time.Duration
}

// parseSearch reads a search that arrived by multicast or not. The result is false for anything else
// (announcements of others, most often) and for searches that the rules tell us to ignore.
func parseSearch(packet []byte, multicast bool) (search, bool) {
	if len(packet) > maxPacket {
		return search{}, false
	}
	request, rest, _ := strings.Cut(string(packet), "\n")
	if strings.TrimSuffix(request, "\r") != "M-SEARCH * HTTP/1.1" {
		return search{}, false
	}
	h, ok := parseHeaders(rest)
	if !ok || h.st == "" || h.man != `"ssdp:discover"` {
		return search{}, false
	}
	s := search{target: h.st}
	if multicast {
		if s.wait, ok = parseWait(h.mx); !ok {
			return search{}, false
		}
	}
	return s, true
}

// headers holds the only headers that matter. HOST is not among them: a search may name the group or one of
// our addresses there, and where it was really sent is told by the kernel.
type headers struct{ man, mx, st string }

// parseHeaders reads header lines up to the first empty line; what follows is none of our business (libtorrent
// sends a line break too many). Lines may end in LF alone, as those of some embedded clients do.
func parseHeaders(text string) (headers, bool) {
	var h headers
	for count := 0; text != ""; count++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || count == maxHeaders {
			return headers{}, false
		}
		var field *string
		switch strings.ToUpper(name) {
		case "MAN":
			field = &h.man
		case "MX":
			field = &h.mx
		case "ST":
			field = &h.st
		default:
			continue
		}
		// Two values for one header leave open which is meant.
		if *field != "" {
			return headers{}, false
		}
		*field = strings.Trim(value, " \t")
	}
	return h, true
}

// parseWait reads MX. More than 5 is taken as 5 (UDA 1.1, section 1.3.3). 0 is not allowed but harmless, and is taken as
// the least that is.
func parseWait(mx string) (time.Duration, bool) {
	seconds, err := strconv.ParseUint(mx, 10, 32)
	if err != nil {
		return 0, false
	}
	return time.Duration(min(max(seconds, 1), 5)) * time.Second, true
}
