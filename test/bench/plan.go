package main

import "time"

// plan says how much is measured.
type plan struct {
	name string

	levels            []int // how many leases are present while requests and packets are measured
	reps, crowdedReps int   // how often everything is repeated

	// budget is how long a rate is measured each time, packets how long packets are sent.
	budget, packets time.Duration
	most            int // requests of one kind in one measurement, below portreeve's limits for one client
	searches        int
	walk            time.Duration // when a walk of the table is ended and the rest estimated

	idle      time.Duration // how long idle daemons are watched
	idleLevel int           // with how many leases

	restarts         []int // leases
	restartsMost     int   // more leases than these only portreeve restores: miniupnpd needs time by their square
	restartReps      int
	expiry           int           // leases
	lifetime         time.Duration // of these; they must be made before the first expires
	expiryReps       int
	reads, readsReps int // GetExternalIPAddress before adding
}

// full takes about 20 minutes.
func full() plan {
	return plan{
		name:   "full",
		levels: []int{0, 1000, 10000}, reps: 3, crowdedReps: 2,
		budget: 400 * time.Millisecond, packets: 400 * time.Millisecond,
		most: 1500, searches: 10, walk: 2 * time.Second,
		idle: 20 * time.Second, idleLevel: 1000,
		restarts: []int{1000, 10000}, restartsMost: 1000, restartReps: 3,
		expiry: 1000, lifetime: 25 * time.Second, expiryReps: 1,
		reads: 40000, readsReps: 1,
	}
}

// quick takes a minute and a half.
func quick() plan {
	return plan{
		name:   "quick",
		levels: []int{0, 100}, reps: 1, crowdedReps: 1,
		budget: 50 * time.Millisecond, packets: 50 * time.Millisecond,
		most: 100, searches: 2, walk: 200 * time.Millisecond,
		idle: time.Second, idleLevel: 100,
		restarts: []int{100}, restartsMost: 100, restartReps: 1,
		expiry: 20, lifetime: 4 * time.Second, expiryReps: 1,
		reads: 200, readsReps: 1,
	}
}

// crowded is from how many leases on miniupnpd takes a good part of a second for each request, so that it is asked
// less often.
const crowded = 5000
