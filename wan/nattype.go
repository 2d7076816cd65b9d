package wan

// NATType says which NAT type consoles will find, in the words of their makers. It is worked out from what the router knows of
// itself, and not measured: nobody outside is asked. Where it cannot be told for sure there is more than one answer, the best
// one first.
type NATType struct {
	Xbox        []Xbox
	PlayStation []PlayStation
	Switch      []Switch
	Reason      Reason
}

// Xbox is a NAT type in the words of Microsoft.
type Xbox string

// The NAT types of Xbox.
const (
	XboxOpen     Xbox = "open"
	XboxModerate Xbox = "moderate"
	XboxStrict   Xbox = "strict"
)

// PlayStation is a NAT type in the words of Sony, 1 to 3. The first is that of a console without any router, so behind one
// the second is the best.
type PlayStation int

// Switch is a NAT type in the words of Nintendo, from "A" to "D", and "F" where nothing comes back.
type Switch string

// Reason tells what decides about the NAT type.
type Reason string

// The reasons.
const (
	ReasonReady    Reason = "ready"    // nothing stands in the way
	ReasonOffline  Reason = "offline"  // there is no connection, and so no NAT type
	ReasonPrivate  Reason = "private"  // another router is above this one
	ReasonShared   Reason = "shared"   // the provider translates once more
	ReasonSpecial  Reason = "special"  // the address is not used on the internet
	ReasonFirewall Reason = "firewall" // the rules cannot be set, so that nothing is opened and no port kept
	ReasonPaused   Reason = "paused"   // no requests are taken at the moment
	ReasonSilent   Reason = "silent"   // consoles ask by UPnP, which is switched off
	ReasonDenied   Reason = "denied"   // the policy gives new devices nothing
	ReasonAsk      Reason = "ask"      // it gives them something when the owner has said yes
)

// Requests tells what becomes of the requests of a console.
type Requests uint8

// What becomes of them.
const (
	Granted    Requests = iota
	NotHeard            // UPnP is switched off
	NotTaken            // the owner has made a pause
	Refused             // by the policy
	OwnerAsked          // granted as soon as the owner has said yes
)

// Circumstances are what the NAT type depends on.
type Circumstances struct {
	Kind     Kind     // of the address of the primary WAN; None: no connection
	Requests Requests // what becomes of those of a console that is new here
	Broken   bool     // the firewall rules cannot be set now
}

// Expect works out the NAT type.
//
// With a public address, a port that a console has opened is forwarded to it from everywhere, and what it sends from there keeps
// that port: Xbox calls that open. Without, Linux keeps the source port of a connection where it can and lets in only who
// was sent something: moderate, type 2 and B. Behind the NAT of somebody else all depends on how good that one is, and nothing
// can be opened in it from here.
func Expect(c Circumstances) NATType {
	switch c.Kind {
	case None:
		return NATType{Reason: ReasonOffline}
	case Private:
		return unsure(ReasonPrivate)
	case Shared:
		return unsure(ReasonShared)
	case Special:
		return unsure(ReasonSpecial)
	case Public:
		return expectInPublic(c)
	default:
		return NATType{Reason: ReasonOffline}
	}
}

// expectInPublic is Expect with a public address.
func expectInPublic(c Circumstances) NATType {
	if c.Broken {
		return unsure(ReasonFirewall)
	}
	switch c.Requests {
	case NotHeard:
		return moderate(ReasonSilent)
	case NotTaken:
		return moderate(ReasonPaused)
	case Refused:
		return moderate(ReasonDenied)
	case OwnerAsked:
		t := moderate(ReasonAsk)
		t.Xbox = []Xbox{XboxOpen, XboxModerate}
		return t
	default:
		t := moderate(ReasonReady)
		t.Xbox = []Xbox{XboxOpen}
		return t
	}
}

func moderate(why Reason) NATType {
	return NATType{Xbox: []Xbox{XboxModerate}, PlayStation: []PlayStation{2}, Switch: []Switch{"B"}, Reason: why}
}

func unsure(why Reason) NATType {
	return NATType{Xbox: []Xbox{XboxModerate, XboxStrict}, PlayStation: []PlayStation{2, 3}, Switch: []Switch{"B", "C", "D"}, Reason: why}
}

// Text says in a sentence what a reason means.
func (r Reason) Text() string {
	switch r {
	case ReasonReady:
		return "The address outside is public, consoles may open ports, and what they send keeps its port."
	case ReasonOffline:
		return "There is no connection to the internet now."
	case ReasonPrivate:
		return "Another router stands between this one and the internet, and decides."
	case ReasonShared:
		return "The provider translates addresses once more, and decides."
	case ReasonSpecial:
		return "The address outside is not used on the internet: somebody above translates it, and decides."
	case ReasonFirewall:
		return "The firewall rules cannot be set now, so that no port is opened."
	case ReasonPaused:
		return "Nobody can open ports during the pause."
	case ReasonSilent:
		return "Consoles open ports by UPnP, which is switched off in the configuration."
	case ReasonDenied:
		return "New devices may not open ports. Allow the console to have an open NAT."
	case ReasonAsk:
		return "A new console has to be allowed by you first."
	default:
		return string(r)
	}
}
