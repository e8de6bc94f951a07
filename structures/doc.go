// Package structures is the contract between a replicated structure and the
// rest of the grid.
//
// Each structure has one package below this one, with its semantics in doc.go, its wire
// operations in ops.go, its deterministic state in state.go and its typed handle beside
// them. A structure package imports this package and protocol, nothing else of the
// grid, and no other structure package. The two ends meet here:
//
//	handle --Call--> Invoker ... wire, proposer, Raft log ... Machine <--Env-- rows of a partition
//
// A Machine is pure: it sees the ordered rows of its structure inside one partition,
// the replicated clock, and the call. It has no clock of its own, no randomness, no
// goroutine, no lock and no map order. It reads first and then writes. The writes take
// effect together after it has returned, so a Machine that fails or panics has changed
// nothing.
package structures
