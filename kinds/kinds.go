// Package kinds is the one list of the structures that a grid has. Members, commands,
// benchmarks, verification and documentation know a structure from here, and from
// what it says of itself: see structures.Kind.
package kinds

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dbarrier"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/structures/did"
	"github.com/quorate/quorate/structures/dlatch"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/drate"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/drwlock"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/dservice"
)

// All returns the kinds of structures in the order of their numbers. A new one is
// one line.
func All() []structures.Kind {
	return []structures.Kind{
		dmap.Kind(),
		dcounter.Kind(),
		dsemaphore.Kind(),
		dqueue.Kind(),
		dlock.Kind(),
		drwlock.Kind(),
		dlatch.Kind(),
		dbarrier.Kind(),
		delection.Kind(),
		dref.Kind(),
		did.Kind(),
		drate.Kind(),
		dservice.Kind(),
		dpresence.Kind(),
	}
}

// Of returns the kind with a number, and whether there is one.
func Of(id protocol.KindID) (structures.Kind, bool) {
	for _, k := range All() {
		if k.ID == id {
			return k, true
		}
	}
	return structures.Kind{}, false
}

// Named returns the kind with a name, and whether there is one.
func Named(name string) (structures.Kind, bool) {
	for _, k := range All() {
		if k.Name == name {
			return k, true
		}
	}
	return structures.Kind{}, false
}
