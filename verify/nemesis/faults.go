package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/verify/network"
)

// Loss says what a fault may take for ever.
type Loss uint8

// What a fault may take.
const (
	LosesNothing  Loss = iota // in either durability
	LosesRAM                  // of one member
	LosesMajority             // the RAM of a majority, or of all
	LosesDisk                 // what one member has on disk
)

// Fault is one kind of fault.
type Fault struct {
	Name   string // "kill-leader"
	Family string // "process"
	About  string // in a few words
	Loses  Loss
	// Lasts is for how long, at least and at most, it is left in force.
	Lasts [2]time.Duration
	// Slow: it takes so long that a run has it seldom.
	Slow bool
	// OnlyByName: it is run only when it is named, never as one of all.
	OnlyByName bool
	// KeepsSessions: while it is in force, and writes of a client are acknowledged,
	// that client's session must not be lost.
	KeepsSessions bool
	// Needs says why the grid, or the machine, cannot have it; nil: it always can.
	Needs func(*Grid) error
	// Inject puts it in force.
	Inject func(context.Context, *Target) (Injected, error)
}

// Injected is a fault in force.
type Injected struct {
	Detail string // which member, how much
	Heal   func(context.Context) error
}

// Target is what faults are done to.
type Target struct {
	Grid    *Grid           // nil: its processes are those of others
	Seeds   []string        // addresses of members, as clients know them
	Clients *network.Cutter // of the clients of this process
	Rand    *rand.Rand
	// Client starts a client process that holds a permit and waits for an element,
	// and returns how to kill it and how to see that nothing of it stays; nil:
	// there is none.
	Client func(context.Context) (*Holder, error)
	// Load starts a load by its name, with clients of its own, and returns what
	// ends it and checks what it has seen; nil: there is none.
	Load func(ctx context.Context, name string) (*Load, error)
	// StallWatches has some watches read nothing until end is called; nil: there are none.
	StallWatches func() (end func())
}

// Load is a load in force.
type Load struct {
	Detail string
	// Check sees that the load was served as promised, and ends it.
	Check func(context.Context) error
}

// Holder is a client process.
type Holder struct {
	Kill  func()
	Check func(context.Context) error
}

// Violation is the error of a heal that finds a promise broken.
type Violation struct{ What string }

func (v *Violation) Error() string { return v.What }

// Violated returns a Violation.
func Violated(format string, args ...any) error { return &Violation{fmt.Sprintf(format, args...)} }

// Possible returns why a fault cannot be done to a grid, nil if it can.
func (f Fault) Possible(t *Target) error {
	if t.Grid == nil {
		if f.Family != familyClients && f.Family != familyLoad || f.Needs != nil {
			return errors.New("needs a grid of its own processes")
		}
		return nil
	}
	if t.Grid.Durability() == "memory" && f.Loses == LosesDisk {
		return errors.New("durability memory keeps nothing on disk")
	}
	if f.Needs != nil {
		return f.Needs(t.Grid)
	}
	return nil
}

// The families.
const (
	familyProcess = "process"
	familyNetwork = "network"
	familyClients = "clients"
	familyDisk    = "disk"
	familyMachine = "machine"
	familyJoin    = "join"
	familyLoad    = "load"
)

// Faults returns all kinds of fault, family by family.
func Faults() []Fault {
	return slices.Concat(processFaults(), pauseFaults(), networkFaults(), clientFaults(), watchFaults(), diskFaults(), dataFaults(), machineFaults(), joinFaults(), loadFaults())
}

// Choose returns the faults of a list of names and families; "all" stands for
// all that are not run only by name, and "no-x" takes x away.
func Choose(list []string) ([]Fault, error) {
	chosen := map[string]bool{}
	var problems []error
	for _, word := range list {
		name, without := strings.CutPrefix(word, "no-")
		found := name == "none"
		for _, f := range Faults() {
			if f.Name == name || f.Family == name && !f.OnlyByName || name == "all" && !f.OnlyByName {
				chosen[f.Name] = !without
				found = true
			}
		}
		if !found {
			problems = append(problems, fmt.Errorf("there is no fault or family %q", name))
		}
	}
	var faults []Fault
	for _, f := range Faults() {
		if chosen[f.Name] {
			faults = append(faults, f)
		}
	}
	return faults, errors.Join(problems...)
}

// For is how long a fault is left in force, drawn so that short times are as
// likely as long ones.
func (f Fault) For(rng *rand.Rand) time.Duration {
	low, high := f.Lasts[0], f.Lasts[1]
	if high <= low {
		return low
	}
	x := rng.Float64()
	return low + time.Duration(x*x*float64(high-low))
}

func needsSignals(*Grid) error {
	if !canPause {
		return errors.New("needs SIGSTOP")
	}
	return nil
}

func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)+1))
}

func nothing(context.Context) error { return nil }

// pauseFor waits; it returns early, with the context's error, when ctx ends.
func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return contexts.Err(ctx)
	}
}

// needsNetwork is what faults of the network between members need.
func needsNetwork(g *Grid) error { return g.hosts.DisturbsMembers() }

// needsClients is what faults of the network of clients need.
func needsClients(g *Grid) error { return g.hosts.DisturbsClients() }
