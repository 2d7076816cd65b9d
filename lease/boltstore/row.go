package boltstore

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// rowVersion is the version of every kind of row, schemaVersion that of the file as a whole. A change that an
// older portreeve would misread raises the latter. 2: policy rules can be switched off, or ask the owner, which the first
// one would take for rules that allow.
const (
	rowVersion    = 1
	schemaVersion = 2
)

// The rows. Times are milliseconds: of wall-clock time since 1970, else of a duration. JSON's own form of a time
// fails outside the years 0 to 9999, where a router's clock may well be.

type metaRow struct {
	Version int            `json:"v"`
	Schema  int            `json:"schema"`
	Clock   *instantRow    `json:"clock,omitempty"` // of the latest commit; absent before the first
	Epoch   int64          `json:"epoch_ms"`        // age of the epoch at Clock
	Counts  map[string]int `json:"rows"`            // rows by bucket: one that vanishes shall be missed
	Digest  string         `json:"digest"`          // of all other rows, see content.digest
}

type instantRow struct {
	Time   int64  `json:"time_ms"`
	BootID string `json:"boot_id"`
	Boot   int64  `json:"boot_ms"`
	Synced bool   `json:"synced"`
}

type filterRow struct {
	Prefix netip.Prefix `json:"prefix"`
	Port   uint16       `json:"port,omitempty"`
}

// mappingRow is what a lease and the lease in an event have in common.
type mappingRow struct {
	ID           lease.ID       `json:"id,omitempty"`
	Seq          uint64         `json:"seq,omitempty"`
	Origin       lease.Origin   `json:"origin"`
	Client       netip.Addr     `json:"client"`
	Device       string         `json:"device,omitempty"`
	Agent        string         `json:"agent,omitempty"`
	Protocol     lease.Protocol `json:"protocol"`
	ExternalAddr netip.Addr     `json:"external_addr"` // empty: whatever the WAN has
	ExternalPort uint16         `json:"external_port"`
	InternalAddr netip.Addr     `json:"internal_addr"`
	InternalPort uint16         `json:"internal_port"`
	Ports        uint16         `json:"ports,omitempty"` // absent: one
	WAN          string         `json:"wan,omitempty"`   // absent: every WAN
	Filters      []filterRow    `json:"filters,omitempty"`
	Description  string         `json:"description,omitempty"`
	Created      int64          `json:"created_ms"`
	Permanent    bool           `json:"permanent,omitempty"`
	Lifetime     int64          `json:"lifetime_ms,omitempty"`
	Renewals     uint32         `json:"renewals,omitempty"`
	Stuck        string         `json:"stuck,omitempty"`
}

type leaseRow struct {
	Version int `json:"v"`
	mappingRow
	Nonce     string     `json:"nonce,omitempty"` // hexadecimal; PCP only
	Note      string     `json:"note,omitempty"`
	EndFixed  bool       `json:"end_fixed,omitempty"`
	Remaining int64      `json:"remaining_ms"`
	Saved     instantRow `json:"saved"` // when Remaining was right
}

type stepRow struct {
	Rule string `json:"rule"`
	OK   bool   `json:"ok"`
	Why  string `json:"why"`
}

type eventRow struct {
	Version int             `json:"v"`
	Seq     uint64          `json:"seq"`
	Time    int64           `json:"time_ms"`
	Kind    lease.EventKind `json:"kind"`
	By      lease.Origin    `json:"by"`
	Who     string          `json:"who,omitempty"`
	Lease   mappingRow      `json:"lease"` // without the nonce, which is a secret
	Expires int64           `json:"expires_ms"`
	Reason  string          `json:"reason,omitempty"`
	Trace   []stepRow       `json:"trace,omitempty"`
	Count   int             `json:"count"`
	Rule    *ruleNewsRow    `json:"rule,omitempty"`
}

var errChecksum = errors.New("checksum does not match")

// checksum covers bucket and key as well, so that a row cannot be taken for another one.
func checksum(bucket, key string, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum([]byte(bucket+"/"+key+"\n"), table)
	return crc32.Update(sum, table, value)
}

// seal encodes a row: eight hexadecimal digits of checksum, a space, JSON.
func seal(bucket, key string, value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode row %s/%s: %w", bucket, key, err)
	}
	return fmt.Appendf(nil, "%08x %s", checksum(bucket, key, text), text), nil
}

// intact tells whether a row is what seal has made of this bucket and key.
func intact(bucket, key string, row []byte) bool {
	sum, text, found := bytes.Cut(row, []byte(" "))
	return found && bytes.Equal(sum, fmt.Appendf(nil, "%08x", checksum(bucket, key, text)))
}

// open decodes what seal has encoded. The value is of no use after an error.
func open(bucket, key string, row []byte, value any) error {
	if !intact(bucket, key, row) {
		return errChecksum
	}
	_, text, _ := bytes.Cut(row, []byte(" "))
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return err
	}
	if head.Version != rowVersion {
		return fmt.Errorf("row version %d: only %d is known", head.Version, rowVersion)
	}
	return json.Unmarshal(text, value)
}

func toInstantRow(i lease.Instant) instantRow {
	return instantRow{i.Time.UnixMilli(), i.BootID, i.Boot.Milliseconds(), i.Synced}
}

func (r instantRow) instant() lease.Instant {
	return lease.Instant{Time: time.UnixMilli(r.Time), BootID: r.BootID, Boot: milliseconds(r.Boot), Synced: r.Synced}
}

// milliseconds turns a stored number into a duration; one that is too large for the type becomes the largest.
func milliseconds(ms int64) time.Duration {
	const limit = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(min(max(ms, -limit), limit)) * time.Millisecond
}

func toMappingRow(l lease.Lease) mappingRow {
	r := mappingRow{
		ID: l.ID, Seq: l.Seq, Origin: l.Origin, Client: l.Client, Device: l.Device, Agent: l.Agent,
		Protocol:     l.Protocol,
		ExternalAddr: l.External.Addr(), ExternalPort: l.External.Port(),
		InternalAddr: l.Internal.Addr(), InternalPort: l.Internal.Port(),
		Ports: l.Ports, WAN: l.WAN,
		Description: l.Description,
		Created:     l.Created.UnixMilli(),
		Permanent:   l.Permanent, Lifetime: l.Lifetime.Milliseconds(), Renewals: l.Renewals, Stuck: l.Stuck,
	}
	for _, f := range l.Filters {
		r.Filters = append(r.Filters, filterRow(f))
	}
	return r
}

func (r mappingRow) lease() lease.Lease {
	l := lease.Lease{
		Mapping: lease.Mapping{
			Protocol:    r.Protocol,
			External:    netip.AddrPortFrom(r.ExternalAddr, r.ExternalPort),
			Internal:    netip.AddrPortFrom(r.InternalAddr, r.InternalPort),
			Ports:       r.Ports,
			WAN:         r.WAN,
			Description: r.Description,
		},
		ID: r.ID, Seq: r.Seq, Origin: r.Origin, Client: r.Client, Device: r.Device, Agent: r.Agent,
		Created:   time.UnixMilli(r.Created),
		Permanent: r.Permanent, Lifetime: milliseconds(r.Lifetime), Renewals: r.Renewals, Stuck: r.Stuck,
	}
	for _, f := range r.Filters {
		l.Filters = append(l.Filters, lease.Filter(f))
	}
	return l
}

func encodeLease(l lease.Lease, now lease.Instant) ([]byte, error) {
	r := leaseRow{
		Version: rowVersion, mappingRow: toMappingRow(l),
		Note: l.Note, EndFixed: l.EndFixed,
		Remaining: l.Remaining(now.Time).Milliseconds(), Saved: toInstantRow(now),
	}
	if l.Nonce != (lease.Nonce{}) {
		r.Nonce = hex.EncodeToString(l.Nonce[:])
	}
	return seal(bucketLeases, string(l.ID), r)
}

var (
	errNewer   = errors.New("it was written by a newer version of portreeve")
	errForeign = errors.New("it was not made by portreeve")
)

// decodeMeta returns the only row of its bucket, and checks that all buckets are known. Whatever a newer portreeve
// changes, this row keeps its form.
func decodeMeta(c content) (metaRow, error) {
	row, found := c[bucketMeta][metaKey]
	if !found {
		return metaRow{}, errForeign
	}
	var m metaRow
	if err := open(bucketMeta, metaKey, row, &m); err != nil {
		return metaRow{}, err
	}
	if m.Schema > schemaVersion {
		return metaRow{}, fmt.Errorf("%w (its format is %d, and this one knows %d)", errNewer, m.Schema, schemaVersion)
	}
	for bucket := range c {
		if !slices.Contains(buckets(), bucket) {
			return metaRow{}, fmt.Errorf("%w: it holds %.32q", errForeign, bucket)
		}
	}
	return m, nil
}

// savedLease is a lease as it was at a reading of the clocks; its Expires is not set.
type savedLease struct {
	lease.Lease
	remaining time.Duration
	at        lease.Instant
}

// decodeLease refuses a row that no lease can have made.
func decodeLease(key string, row []byte) (savedLease, error) {
	var r leaseRow
	if err := open(bucketLeases, key, row, &r); err != nil {
		return savedLease{}, err
	}
	if r.ID == "" || string(r.ID) != key {
		return savedLease{}, fmt.Errorf("lease %q under the key of another", r.ID)
	}
	ports := r.ExternalPort != 0 && r.InternalPort != 0 && r.Protocol != lease.AllProtocols
	whole := r.ExternalPort == 0 && r.InternalPort == 0 && r.ExternalAddr.Is4() && r.Ports == 0
	if !r.InternalAddr.IsValid() || !ports && !whole {
		return savedLease{}, fmt.Errorf("lease %s: incomplete mapping", r.ID)
	}
	if r.Ports > lease.MaxPorts || int(max(r.ExternalPort, r.InternalPort))+int(r.Ports) > 65536 {
		return savedLease{}, fmt.Errorf("lease %s: impossible range of %d ports", r.ID, r.Ports)
	}
	l := savedLease{Lease: r.lease(), remaining: milliseconds(r.Remaining), at: r.Saved.instant()}
	l.Note, l.EndFixed = lease.CleanText(r.Note, lease.MaxLeaseNote), r.EndFixed
	if r.Nonce != "" {
		nonce, err := hex.DecodeString(r.Nonce)
		if err != nil || len(nonce) != len(l.Nonce) {
			return savedLease{}, fmt.Errorf("lease %s: its nonce is not %d hexadecimal octets", r.ID, len(l.Nonce))
		}
		l.Nonce = lease.Nonce(nonce)
	}
	return l, nil
}

func encodeEvent(e lease.Event) ([]byte, error) {
	r := eventRow{
		Version: rowVersion, Seq: e.Seq, Time: e.Time.UnixMilli(), Kind: e.Kind, By: e.By, Who: e.Who, Rule: toRuleNewsRow(e.Rule),
		Lease: toMappingRow(e.Lease), Expires: e.Lease.Expires.UnixMilli(), Reason: e.Reason, Count: e.Count,
	}
	for _, s := range e.Trace {
		r.Trace = append(r.Trace, stepRow(s))
	}
	return seal(bucketEvents, eventKey(e.Seq), r)
}

func decodeEvent(key string, row []byte) (lease.Event, error) {
	var r eventRow
	if err := open(bucketEvents, key, row, &r); err != nil {
		return lease.Event{}, err
	}
	if eventKey(r.Seq) != key {
		return lease.Event{}, fmt.Errorf("event %d under the key of another", r.Seq)
	}
	e := lease.Event{
		Seq: r.Seq, Time: time.UnixMilli(r.Time), Kind: r.Kind, By: r.By, Who: r.Who, Rule: r.Rule.news(),
		Lease: r.Lease.lease(), Reason: r.Reason, Count: r.Count,
	}
	e.Lease.Expires = time.UnixMilli(r.Expires)
	for _, s := range r.Trace {
		e.Trace = append(e.Trace, lease.Step(s))
	}
	return e, nil
}
