package structures

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// crowd is a grid of two groups, which have the partitions in turn. Each partition has one
// structure of each kind, and another one in a second page.
type crowd struct {
	silent  protocol.GroupID // does not answer
	refuses int              // so often it refuses each question because it is overloaded

	mu       sync.Mutex
	refused  map[string]int
	underWay map[protocol.GroupID]int
	most     int // questions under way in a group
}

const crowdPartitions = 100

func (c *crowd) Partitions() int { return crowdPartitions }

func (c *crowd) Limits() protocol.Limits { return protocol.DefaultLimits() }

func (c *crowd) Table() (t protocol.Table) {
	for p := range crowdPartitions {
		t.Partitions = append(t.Partitions, protocol.GroupID(2+p%2))
	}
	return t
}

func (c *crowd) InvokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, []error) {
	replies, errs := make([]structures.Reply, len(calls)), make([]error, len(calls))
	g := protocol.GroupID(2 + calls[0].Partition%2)
	c.mu.Lock()
	c.underWay[g] += len(calls)
	c.most = max(c.most, c.underWay[g])
	c.mu.Unlock()
	time.Sleep(time.Millisecond)
	if g == c.silent {
		<-ctx.Done()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay[g] -= len(calls)
	for i, call := range calls {
		question := fmt.Sprintf("%d %x", call.Partition, call.Body)
		c.refused[question]++
		switch {
		case g == c.silent:
			errs[i] = &quorate.Error{Op: "list", Cause: quorate.ErrUnavailable}
			continue
		case c.refused[question] <= c.refuses:
			errs[i] = &quorate.Error{Op: "list", Cause: quorate.ErrOverloaded}
			continue
		}
		r := protocol.NewReader(call.Body)
		r.Array(3)
		r.Uint()
		name, next := "a", "b"
		if r.String() == next {
			name, next = "b", ""
		}
		b := protocol.AppendString(protocol.AppendArray(nil, 4), next)
		b = protocol.AppendUint(protocol.AppendInt(protocol.AppendString(b, name), 1), 10)
		replies[i].Body = b
	}
	return replies, errs
}

// TestList_Bounded: however many kinds and partitions there are, a group is asked few
// questions at a time; what is refused because somebody is overloaded is asked again; and a
// group that does not answer costs only what it has.
func TestList_Bounded(t *testing.T) {
	for name, silent := range map[string]protocol.GroupID{"all answer": 0, "one is silent": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &crowd{silent: silent, refuses: 3, refused: map[string]int{}, underWay: map[protocol.GroupID]int{}}
				partitions := int64(crowdPartitions)
				if silent != 0 {
					partitions /= 2
				}
				all := kinds.All()
				lists := listedOf(t.Context(), c, time.Minute, all)
				for i, l := range lists {
					if len(l.list) != 2 || l.list[0].Length != partitions || l.list[1].Length != partitions || l.kind.ID != all[i].ID {
						t.Fatalf("%s: %+v", all[i].Name, l)
					}
					if silent == 0 && l.err != nil || silent != 0 && !errors.Is(l.err, quorate.ErrUnavailable) {
						t.Errorf("%s: %v", all[i].Name, l.err)
					}
				}
				if c.most > listAtOnce || c.most < listAtOnce/2 {
					t.Errorf("%d questions were under way in a group, want up to %d", c.most, listAtOnce)
				}
			})
		})
	}
}

// TestList_Overloaded: what is refused until the time is over is missing.
func TestList_Overloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{refuses: 1 << 30, refused: map[string]int{}, underWay: map[protocol.GroupID]int{}}
		began := time.Now()
		lists := listedOf(t.Context(), c, 10*time.Second, kinds.All()[:1])
		if err := lists[0].err; !errors.Is(err, quorate.ErrOverloaded) || len(lists[0].list) > 0 {
			t.Errorf("%+v, %v", lists[0].list, err)
		}
		for question, n := range c.refused {
			if n < 5 || n > 20 {
				t.Errorf("%s was asked %d times in %v", question, n, time.Since(began))
			}
			break
		}
	})
}
