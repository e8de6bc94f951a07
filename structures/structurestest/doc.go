// Package structurestest is the one conformance suite that every structure
// runs. It drives a structure's Machine in the very state that a group keeps
// (shardgroups/groupstate), against a naive model:
//
//	func TestConformance(t *testing.T) {
//		structurestest.Run(t, dcounter.Kind(), func() structurestest.Model { return new(model) })
//	}
//
//	func FuzzMachine(f *testing.F) { structurestest.Fuzz(f, dcounter.Kind(), seeds...) }
//
// Run draws calls of several sessions, repeats, cancels, confirms, ends of
// sessions and passing time, in entries of random size, and asks that
//   - every reply and every grant is the model's;
//   - a repeat gets the reply of the first attempt;
//   - a replica that is restored from a snapshot after every entry has the same
//     hash and the same replies as one that never is;
//   - a panic at any call of Env is a reply, and changes nothing else;
//   - after the sessions have ended nothing of theirs is left.
//
// The operations that every kind has (destroy, length, configure, settings, names) are
// among them, and are judged by the suite itself; a Model only says what its settings
// are, by Configured.
//
// Fuzz asks that no request, however malformed, makes the Machine panic.
//
// NewLocal is a grid of one group without a network, on which handles can be
// tried: clients with sessions that end when the test says so, and time that
// passes when the test says so.
//
// A Model's operations should be few and collide: a handful of keys and small
// numbers find more than large ones.
package structurestest
