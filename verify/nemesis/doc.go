// Package nemesis does to a grid of real member processes what happens to
// processes, networks, disks and machines: it kills, pauses and restarts them,
// cuts, delays and damages what they send, fills, slows and damages what they
// store.
//
//	g, err := nemesis.Start(ctx, nemesis.Config{...})
//	for _, f := range nemesis.Faults() {
//		if why := f.Possible(g); why != nil { ... say so ... }
//	}
//	injected, err := f.Inject(ctx, g, rng)
//	...
//	err = injected.Heal(ctx)
//	err = g.AwaitFull(ctx)
//
// All that one member sends another passes through a Network, which can be told
// what to do with each direction between each two: a packetSwitch between hosts
// in network namespaces of their own, or proxies whose addresses the members
// advertise. Clients connect through the Dial of a Cutter.
//
// One file holds one family of faults; a new fault is a value of Fault in it.
package nemesis
