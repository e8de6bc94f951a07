package gridtest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
)

// mail is a small application: letters are put in a queue, workers deliver
// them, and a map counts what each has got.
type mail struct {
	letters *dqueue.Queue[string]
	counts  *dmap.Map[string, int]
}

func newMail(c *client.Client) *mail {
	return &mail{dqueue.New[string](c, "letters"), dmap.New[string, int](c, "counts")}
}

func (m *mail) send(ctx context.Context, to string) error { return m.letters.Put(ctx, to) }

// deliver delivers one letter.
func (m *mail) deliver(ctx context.Context) error {
	to, err := m.letters.Take(ctx)
	if err != nil {
		return fmt.Errorf("take: %w", err)
	}
	_, err = m.counts.Update(ctx, to, func(old int, _ bool) (int, error) { return old + 1, nil })
	return err
}

// TestApplication is how an application is tested: it works while the grid is
// being broken, and then its own invariant must hold. Here nothing is lost and
// nothing delivered twice, whatever happens to one member at a time.
func TestApplication(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()

	const letters = 60
	var work sync.WaitGroup
	sender, worker := newMail(c.Client(t)), newMail(c.Client(t))
	work.Go(func() {
		for i := range letters {
			if err := sender.send(ctx, fmt.Sprint("house ", i%3)); err != nil {
				t.Errorf("send letter %d: %v", i, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	work.Go(func() {
		for i := range letters {
			if err := worker.deliver(ctx); err != nil {
				t.Errorf("deliver letter %d: %v", i, err)
				return
			}
		}
	})

	// A member dies and comes back; another is cut off from its fellows; a third
	// is reached by what comes late and twice.
	c.Kill(0)
	time.Sleep(200 * time.Millisecond)
	c.Restart(0)
	c.WaitReady()
	c.Isolate(1)
	time.Sleep(200 * time.Millisecond)
	c.Heal()
	c.SetLink(0, 2, gridtest.Link{Delay: 5 * time.Millisecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.1})
	work.Wait()
	c.Heal()

	total := 0
	for house, err := range newMail(c.Client(t)).counts.All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		total += house.Value
	}
	if total != letters {
		t.Errorf("%d letters delivered, want %d", total, letters)
	}
}
