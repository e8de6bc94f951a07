// Package gridtest starts whole grids inside a test, on loopback and in
// temporary directories: members that can be killed, paused and started again,
// and a network between them, and to clients, that can be broken in every way.
//
//	c := gridtest.Start(t, 3)
//	cl := c.Client(t)
//	hits := dcounter.New(cl, "hits")
//	...
//	c.Isolate(c.Leader(cl, "hits", nil)) // what the application does now must still be right
//	...
//	c.Heal()
//
// WithMemoryDisks adds power loss, slow and failing disks. WithClock puts log time
// under the test's control. MoveLeader and Snapshot make the engine do at once what it
// does by itself now and then.
//
// example_test.go is the test of a small application. docs/guarantees.md in the
// repository says what is promised while something is broken.
package gridtest
