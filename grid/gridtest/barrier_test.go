package gridtest_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dbarrier"
)

// TestBarrier_KilledLeader: parties that wait, and those that are inside, outlive the leader,
// and a party whose session ends inside is not waited for.
func TestBarrier_KilledLeader(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	cl, other, dying := c.Client(t), c.Client(t), c.Client(t, client.WithSessionTTL(2*time.Second))
	type entered struct {
		inside *dbarrier.Inside
		err    error
	}
	done := make(chan entered, 3)
	enter := func(cl *client.Client) {
		inside, err := dbarrier.NewDouble(cl, "job", 3).Enter(ctx)
		done <- entered{inside, err}
	}
	job := dbarrier.NewDouble(cl, "job", 3)
	go enter(cl)
	go enter(other)
	c.Eventually("two to wait", func() bool {
		i, err := job.Inspect(ctx)
		return err == nil && i.Waiting == 2
	})
	c.Kill(c.Leader(cl, "job", nil))
	go enter(dying)
	var all []*dbarrier.Inside
	var dead *dbarrier.Inside
	for range 3 {
		got := <-done
		if got.err != nil {
			t.Fatal(got.err)
		}
		all = append(all, got.inside)
	}
	i, err := job.Inspect(ctx)
	if err != nil || i.Length != 3 || all[0].Round() != all[1].Round() || all[1].Round() != all[2].Round() {
		t.Fatalf("%d are inside: %v", i.Length, err)
	}
	if err := dying.Close(); err != nil {
		t.Error(err)
	}
	left := 0
	for _, inside := range all {
		if inside.Context().Err() != nil {
			dead = inside
			continue
		}
		left++
		if left == 1 {
			if err := inside.Release(ctx); err != nil {
				t.Error(err)
			}
		} else if err := inside.Leave(ctx); err != nil {
			t.Error(err)
		}
	}
	if dead == nil || left != 2 {
		t.Errorf("%d have left", left)
	}
	if i, err := job.Inspect(ctx); err != nil || i.Length != 0 || i.Bytes != 0 {
		t.Errorf("something is left: %+v, %v", i, err)
	}
}
