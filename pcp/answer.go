package pcp

// Answer tells what a MAP request of PCP that insists on no port is answered when err, which may be nil, is what the lease
// manager returns; PMPAnswer tells the same of NAT-PMP. They are for the owner, who asks what if.
func Answer(err error) Result { return resultOf(err) }

// PMPAnswer is [Answer] for NAT-PMP.
func PMPAnswer(err error) PMPResult { return pmpResult(err) }
