package lease

import "time"

// Pause says whether new mappings of clients are refused for now.
type Pause struct {
	On    bool
	Until time.Time // with a monotonic reading; zero: until the owner ends it
}

// at returns the pause as it is at a time: it ends by itself.
func (p Pause) at(now time.Time) Pause {
	if p.On && (p.Until.IsZero() || now.Before(p.Until)) {
		return p
	}
	return Pause{}
}
