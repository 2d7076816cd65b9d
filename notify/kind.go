package notify

// Kind is a kind of news.
type Kind string

// The kinds of news.
const (
	NewDevice  Kind = "new_device"  // a device has asked for a port for the first time
	Waiting    Kind = "waiting"     // a request waits for the owner
	RiskyPort  Kind = "risky_port"  // a device has opened a port below 1024, one of a service that attackers look for, or all of them
	LongDMZ    Kind = "long_dmz"    // a DMZ host has been on for long
	WANAddress Kind = "wan_address" // the router has another address outside
	WANReach   Kind = "wan_reach"   // it can be reached from the internet no longer, or again
	Refusals   Kind = "refusals"    // a device was refused very often
	Trouble    Kind = "trouble"     // store or firewall have failed for a while, or work again
)

// Kinds returns all kinds of news.
func Kinds() []Kind {
	return []Kind{NewDevice, Waiting, RiskyPort, LongDMZ, WANAddress, WANReach, Refusals, Trouble}
}

// urgent tells whether the owner should look soon.
func (k Kind) urgent() bool {
	switch k {
	case RiskyPort, LongDMZ, WANReach, Refusals, Trouble:
		return true
	default:
		return false
	}
}
