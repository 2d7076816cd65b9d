package igd

// Answer tells what AddPortMapping and AddAnyPortMapping of a version answer when err is what the lease manager returns: the
// code and the description of the fault, or 0 and "OK" where err is nil. It is for the owner, who asks what if.
func Answer(action string, version int, err error) (number int, description string) {
	if err == nil {
		return 0, "OK"
	}
	c := refusal(action, version, err)
	return c.number(), c.String()
}
