// Package nemesis does to a grid of real member processes what happens to
// processes, networks, disks and machines: it kills, pauses and restarts them,
// cuts, delays and damages what they send, fills, slows and damages what they
// store.
//
//	g, err := nemesis.New(nemesis.Config{...})
//	err = g.StartAll()
//	faults, err := nemesis.Choose([]string{"kill-leader", "network"})
//	injected, err := faults[0].Inject(ctx, &nemesis.Target{Grid: g, Rand: rng, ...})
//	...
//	err = injected.Heal(ctx)
//	err = g.AwaitFull(ctx)
//
// All that one member sends another passes through a network.Network, which can be set
// for each direction between each two.
//
// One file holds one family of faults; a new fault is a value of Fault in it.
package nemesis
