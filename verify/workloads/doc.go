// Package workloads uses all structures of a grid at once, from many clients,
// and finds out whether every promise was kept.
//
//	run := workloads.Start(workloads.Config{Clients: clients, Quiet: quiet})
//	... faults ...
//	run.Stop()
//	report := run.Finish(ctx)
//
// A part of the operations goes to a few objects of each structure and is
// decided by porcupine. A search for an order takes long where a history is
// long, so every few seconds there is a new epoch with objects of new names,
// and the last one is decided, and its objects destroyed, while the run goes
// on. The rest is counted: sums, elements, entries that were written once or by
// one writer only, times to live, permits and tokens. That is exact over the
// whole run, however long it is.
//
// One file holds one structure's workload, or one way of counting; a new
// structure joins with a file and a line in workers.
package workloads
