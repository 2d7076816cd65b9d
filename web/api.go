package web

import (
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// The types of this file are the JSON of the API as docs/openapi.yaml describes it. The command line decodes
// into the same types. Times of day are for people; everything that counts down or up is in seconds, measured
// by a clock that does not jump.

// Facts is the part of [Status] that only the daemon's wiring knows.
type Facts struct {
	Version   string          `json:"version"`
	Backend   string          `json:"backend"` // of the firewall, for example "iptables-nft"; "" while unknown
	WANs      []WANFacts      `json:"wans"`
	LANs      []LANFacts      `json:"lans"`
	Protocols []ProtocolFacts `json:"protocols"`

	// Notices tells of things that the owner should know and that are no trouble now: a store that was set
	// aside, a configuration that was found by guessing.
	Notices []string `json:"notices"`
}

// WANFacts is one outside interface.
type WANFacts struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
	State     WANState     `json:"state"`

	SinceSeconds int64 `json:"since_seconds"` // how long it has had its first address; 0 while it has none
}

// WANState says what an outside interface is good for.
type WANState string

// The states of an outside interface, from best to worst.
const (
	WANPublic    WANState = "public"     // has an address that the internet can reach
	WANShared    WANState = "shared"     // has only an address of the provider's shared space (RFC 6598)
	WANPrivate   WANState = "private"    // has only a private address (RFC 1918): another router is above
	WANNoAddress WANState = "no_address" // is up and has no address
	WANDown      WANState = "down"       // has no link, or does not exist
)

// LANFacts is one inside interface. Addresses are the router's own there, with the length of the subnet's prefix.
type LANFacts struct {
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses"`
}

// ProtocolFacts tells whether a protocol is served.
type ProtocolFacts struct {
	Name    string `json:"name"` // "upnp", "nat-pmp", "pcp"
	Enabled bool   `json:"enabled"`
}

// Status answers GET status.
type Status struct {
	Facts
	Verdict       Verdict        `json:"verdict"`
	ExpectedNAT   NATType        `json:"expected_nat"`
	UptimeSeconds int64          `json:"uptime_seconds"`
	Leases        int            `json:"leases"`
	LeasesByVia   map[string]int `json:"leases_by_via"`
	Waiting       int            `json:"waiting"`        // how many requests wait for the owner
	Rules         int            `json:"rules"`          // how many the owner has set
	RulesInForce  int            `json:"rules_in_force"` // how many of them hold now
	Paused        Paused         `json:"paused"`
	DMZ           []DMZHost      `json:"dmz"` // the hosts that get what nothing else takes, if that is switched on
	Problems      []Trouble      `json:"problems"`
}

// DMZHost is a host that everything reaches from outside which nothing else takes.
type DMZHost struct {
	Rule       lease.ID   `json:"rule"`
	Name       string     `json:"name"`
	Device     string     `json:"device"`      // MAC address, "" if the rule is for an address
	DeviceName string     `json:"device_name"` // "" when unknown
	Address    netip.Addr `json:"address"`     // where it is, or was last; "" if it was never seen
	IPv6       bool       `json:"ipv6"`
	InForce    bool       `json:"in_force"`
	Why        string     `json:"why"`   // why it is not in force now; "" if it is
	Until      string     `json:"until"` // RFC 3339; "": for ever
}

// Verdict says in one word whether devices can be reached from the internet.
type Verdict string

// The verdicts. The first that applies, from the bottom up, is given.
const (
	VerdictReady         Verdict = "ready"          // a WAN has a public address
	VerdictDoubleNAT     Verdict = "double_nat"     // behind another router
	VerdictSharedAddress Verdict = "shared_address" // behind the provider's NAT
	VerdictNoAddress     Verdict = "no_address"     // a WAN, but no address
	VerdictNoWAN         Verdict = "no_wan"
	VerdictPaused        Verdict = "paused" // the owner lets devices open nothing new for now
	VerdictNoLAN         Verdict = "no_lan"
	VerdictTrouble       Verdict = "trouble" // store or firewall do not work
)

// Trouble is something that does not work now.
type Trouble struct {
	Source       string `json:"source"` // "store", "firewall", ...
	Text         string `json:"text"`
	SinceSeconds int64  `json:"since_seconds"` // how long it has lasted
}

// LeaseList answers GET leases. The order is that of creation and stays over renewals.
type LeaseList struct {
	Leases []Lease `json:"leases"`
	Next   uint64  `json:"next"` // the "after" that continues the list; 0 at its end
}

// Lease is one open port.
type Lease struct {
	ID              lease.ID     `json:"id"`
	Seq             uint64       `json:"seq"`              // order of creation
	Protocol        string       `json:"protocol"`         // "all": the device has ExternalAddress for itself
	ExternalAddress netip.Addr   `json:"external_address"` // "": that of the WAN
	ExternalPort    uint16       `json:"external_port"`    // the first one; 0: all
	InternalAddress netip.Addr   `json:"internal_address"`
	InternalPort    uint16       `json:"internal_port"` // the first one; 0: all
	PortCount       int          `json:"port_count"`
	WAN             string       `json:"wan"`          // "": each of them
	RemoteHosts     []RemoteHost `json:"remote_hosts"` // none: everybody
	Description     string       `json:"description"`  // as the client sent it: untrusted
	Note            string       `json:"note"`         // of the owner
	Agent           string       `json:"agent"`        // what the client calls itself: untrusted
	Via             lease.Origin `json:"via"`
	Client          netip.Addr   `json:"client"`      // who asked
	Device          string       `json:"device"`      // MAC address, "" when unknown
	DeviceName      string       `json:"device_name"` // "" when unknown
	Created         time.Time    `json:"created"`     // wall clock; wrong on a router that booted without time

	// RemainingSeconds is the time left, rounded down. For a permanent lease it is the time until it is
	// closed unless its device is seen again.
	RemainingSeconds int64  `json:"remaining_seconds"`
	Permanent        bool   `json:"permanent"`
	EndFixed         bool   `json:"end_fixed"` // the owner has had it end earlier: renewals do not change that
	Renewals         uint32 `json:"renewals"`
	Stuck            string `json:"stuck"` // why it stands although it should be closed; "" normally

	State   LeaseState `json:"state"`
	Traffic *LeaseUse  `json:"traffic"` // so far; null while it is not known
}

// RemoteHost limits a lease to some peers.
type RemoteHost struct {
	Prefix netip.Prefix `json:"prefix"`
	Port   uint16       `json:"port"` // 0: any
}

// LeaseDetail answers GET leases/{id}.
type LeaseDetail struct {
	Lease Lease `json:"lease"`

	// Trace is how the policy decided to open it; empty when that was longer ago than the history reaches.
	Trace lease.Trace `json:"trace"`

	// Events is the history of this lease, newest first.
	Events []Event `json:"events"`

	Traffic Traffic `json:"traffic"`
}

// Traffic is what goes through a lease at the moment, and what has gone so far.
type Traffic struct {
	// Used is how often the lease was used since it was opened, null where the firewall does not count that.
	Used *Used `json:"used"`

	// Known is false where the kernel cannot tell; everything else is empty then.
	Known bool `json:"known"`

	// Counted is false while the kernel does not count packets and bytes; all of them are 0 then.
	Counted bool `json:"counted"`

	Peers []Peer `json:"peers"` // those with the most traffic first

	// Minutes is what has gone through in each of the last minutes, up to 60, the oldest first; empty if nothing has.
	Minutes []Minute `json:"minutes"`
}

// Used counts the connections of a lease, those that are over too.
type Used struct {
	In  uint64 `json:"in"`  // from outside, and from other hosts of the LAN
	Out uint64 `json:"out"` // of the host behind it, with the mapped port
}

// Peer is one connection through a lease.
type Peer struct {
	Address         netip.AddrPort `json:"address"`
	Inbound         bool           `json:"inbound"` // the peer began
	BytesReceived   uint64         `json:"bytes_received"`
	BytesSent       uint64         `json:"bytes_sent"`
	PacketsReceived uint64         `json:"packets_received"`
	PacketsSent     uint64         `json:"packets_sent"`
}

// History answers GET history.
type History struct {
	Events []Event `json:"events"` // newest first

	// Next is the value of "before" that continues the list, 0 at its end.
	Next uint64 `json:"next"`
}

// Event is one line of the history.
type Event struct {
	Seq     uint64          `json:"seq"`
	Time    time.Time       `json:"time"` // wall clock, of the latest occurrence
	Kind    lease.EventKind `json:"kind"`
	By      lease.Origin    `json:"by"`
	Who     string          `json:"who"` // the account in whose name it was done; "" where nobody with an account did it
	Mapping EventMapping    `json:"mapping"`
	Rule    *EventRule      `json:"rule"` // what has become of a rule; null for all else
	Reason  string          `json:"reason"`
	Trace   lease.Trace     `json:"trace"`
	Count   int             `json:"count"`

	// DeviceName is what the device is called now; "" when unknown.
	DeviceName string `json:"device_name"`

	// OpenSeconds is how long the ports were open that the event opened or closed; null for other events, and where that
	// is not known. StillOpen says that they are open now.
	OpenSeconds *int64 `json:"open_seconds"`
	StillOpen   bool   `json:"still_open"`
}

// EventRule is what has become of a rule of the owner.
type EventRule struct {
	ID       lease.ID       `json:"id"`
	Change   lease.RuleVerb `json:"change"`
	InForce  bool           `json:"in_force"` // it holds since then
	Why      string         `json:"why"`      // why it does not; "" if it does, and for one that is not there any more
	Settings RuleSettings   `json:"settings"` // as they were then

	// Was is what had been set until a change; null for all else, and where the history does not reach back so far.
	Was *RuleSettings `json:"was"`
}

// EventMapping is what an event is about. All fields are empty for trouble that concerns no lease.
type EventMapping struct {
	ID              lease.ID   `json:"id"` // "" for a request that was denied
	Protocol        string     `json:"protocol"`
	ExternalAddress netip.Addr `json:"external_address"`
	ExternalPort    uint16     `json:"external_port"`
	InternalAddress netip.Addr `json:"internal_address"`
	InternalPort    uint16     `json:"internal_port"`
	PortCount       int        `json:"port_count"` // 0 where it is about no ports
	Description     string     `json:"description"`
	Client          netip.Addr `json:"client"`
	Device          string     `json:"device"`
}

// Session answers GET session, and the requests that change it.
type Session struct {
	State SessionState `json:"state"`
	User  string       `json:"user"` // the account; "" unless open
	Role  Role         `json:"role"` // what it may; "" unless open
}

// SessionState says what a visitor of the UI has to do next.
type SessionState string

// The states of a session.
const (
	SessionSetup SessionState = "setup_required" // no password yet: POST setup
	SessionLogin SessionState = "login_required" // POST login
	SessionOpen  SessionState = "open"           // signed in
)

// SetupCode answers GET and POST setup-code, over the Unix socket only.
type SetupCode struct {
	Code string `json:"code"` // XXXX-XXXX

	// Reset is false for the first password and true for a new one in place of one that was lost.
	Reset bool `json:"reset"`

	// ExpiresSeconds is how long the code can be used; 0 means until it is used or replaced.
	ExpiresSeconds int64 `json:"expires_seconds"`
}

// SetupRequest is the body of POST setup.
type SetupRequest struct {
	Code     string `json:"code"`
	User     string `json:"user"` // the account; one that does not exist may everything; "": admin
	Password string `json:"password"`
}

// LoginRequest is the body of POST login.
type LoginRequest struct {
	User     string `json:"user"` // "": admin, or the first account that was made
	Password string `json:"password"`
}

// Gone is the data of the event "gone" of GET events.
type Gone struct {
	ID lease.ID `json:"id"`
}
