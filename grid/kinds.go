package grid

import (
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// kinds are the structures that a member replicates. A new one is one line.
func kinds() []structures.Kind {
	return []structures.Kind{
		dmap.Kind(),
		dcounter.Kind(),
		dsemaphore.Kind(),
		dqueue.Kind(),
	}
}
