package workloads

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
)

// Probes measure how long writes are not acknowledged: one writer for each
// group, with a client of its own, one counter add at a time.
type Probes struct {
	over    context.Context
	stop    context.CancelFunc
	writers sync.WaitGroup
	tell    func(Gap)
	failed  atomic.Int64

	mu   sync.Mutex // guards what follows
	last map[protocol.GroupID]time.Time
}

// Gap is a time between two acknowledgements of a group, one after the other.
type Gap struct {
	Group    protocol.GroupID
	From, To time.Time
}

const (
	probeEvery = 2 * time.Millisecond
	probeTime  = 5 * time.Minute
)

// StartProbes starts a writer for each group of data. The function dial makes
// its client; tell is called with the gaps that are worth it, from many
// goroutines.
func StartProbes(name string, clients []*client.Client, groups []protocol.GroupID, tell func(Gap)) *Probes {
	p := &Probes{tell: tell, last: map[protocol.GroupID]time.Time{}}
	p.over, p.stop = context.WithCancel(context.Background())
	for i, g := range groups {
		c := clients[i%len(clients)]
		p.writers.Go(func() { p.probe(name, c, g) })
	}
	return p
}

// Groups returns the groups of data that a client knows.
func Groups(c *client.Client) []protocol.GroupID {
	var all []protocol.GroupID
	for _, g := range c.Table().Groups {
		if g.ID != protocol.SystemGroup {
			all = append(all, g.ID)
		}
	}
	return all
}

// CounterOf returns the name of a counter that a group has.
func CounterOf(c *client.Client, prefix string, group protocol.GroupID) string {
	partitions := c.Table().Partitions
	for i := range 100_000 {
		name := fmt.Sprint(prefix, i)
		if p := c.Partition(name, nil); int(p) < len(partitions) && partitions[p] == group {
			return name
		}
	}
	return ""
}

func (p *Probes) probe(prefix string, c *client.Client, g protocol.GroupID) {
	name := CounterOf(c, fmt.Sprint(prefix, "-probe-"), g)
	if name == "" {
		return // the group has no partitions
	}
	counter := dcounter.New(c, name)
	for p.over.Err() == nil {
		ctx, cancel := context.WithTimeout(p.over, probeTime)
		_, err := counter.Add(ctx, 1)
		cancel()
		now := time.Now()
		if err != nil && p.over.Err() == nil {
			p.failed.Add(1)
		}
		if err == nil {
			p.mu.Lock()
			from, ok := p.last[g]
			p.last[g] = now
			p.mu.Unlock()
			if ok {
				p.tell(Gap{g, from, now})
			}
		}
		t := time.NewTimer(probeEvery)
		select {
		case <-t.C:
		case <-p.over.Done():
			t.Stop()
		}
	}
}

// Failed returns how many writes ended with an error.
func (p *Probes) Failed() int64 { return p.failed.Load() }

// AckedSince reports whether a group has acknowledged a write after a time.
func (p *Probes) AckedSince(g protocol.GroupID, t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last[g].After(t)
}

// Waiting returns the longest time for which a group has not been
// acknowledged until now.
func (p *Probes) Waiting() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := time.Duration(0)
	for _, t := range p.last {
		longest = max(longest, time.Since(t))
	}
	return longest
}

// Stop ends the probes.
func (p *Probes) Stop() {
	p.stop()
	p.writers.Wait()
}
