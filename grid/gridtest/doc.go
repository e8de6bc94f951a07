// Package gridtest starts whole grids inside a test, on loopback and in
// temporary directories, with members that can be killed, paused and started
// again and a network that can be cut.
//
//	c := gridtest.Start(t, 3)
//	users := dmap.New[string, string](c.Client(t), "users")
//	c.Kill(c.Leader(t, "users", "ada"))
package gridtest
