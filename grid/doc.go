// Package grid runs one member of a Quorate grid, in a process of its own or
// inside an application.
//
// Start returns once the member listens; Ready waits until it serves. Members find each
// other by the addresses in Config.Join, and form a cluster when as many members as
// Config.BootstrapExpect see each other. A member with neither setting founds a cluster
// alone. The data directory holds everything that a member must remember, so a member
// can be stopped and started at any time.
//
//	m, err := grid.Start(ctx, grid.Config{DataDir: dir})
//	...
//	defer m.Close()
//	if err := m.Ready(ctx); err != nil { ... }
//	users := dmap.New[string, User](m.Client(), "users")
//
// Package gridtest starts whole clusters with a breakable network for tests.
package grid
