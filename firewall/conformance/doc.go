// Package conformance holds the tests that every firewall backend passes, the fake one and the real ones: what state a
// call leaves, and what packets then do. It has no code outside of its tests.
package conformance
