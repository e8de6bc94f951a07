package nemesis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/quorate/quorate/internal/procgrid"
)

// diskFaults do something to the disk below a running member.
func diskFaults() []Fault {
	return []Fault{
		{
			Name: "fsync-slow", Family: familyDisk, About: "every fsync of a member takes 50 ms to 1 s longer",
			Lasts: [2]time.Duration{3 * time.Second, 8 * time.Second}, Needs: needsTracer,
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				m, d := t.Grid.leader(ctx, t.Rand), between(t.Rand, 50*time.Millisecond, time.Second).Round(time.Millisecond)
				tr, err := trace(t.Grid, m, fmt.Sprintf("delay_exit=%d", d.Microseconds()))
				return Injected{fmt.Sprint(m.Name, " ", d), func(context.Context) error { _, err := tr.stop(); return err }}, err
			},
		}, {
			Name: "slow-disk", Family: familyDisk, About: "every fsync of a minority takes 100 to 600 ms longer, or of all members 100 to 200 ms, for longer than sessions live", KeepsSessions: true,
			Slow: true, Lasts: [2]time.Duration{15 * time.Second, 40 * time.Second}, Needs: needsTracer, Inject: slowDisks,
		}, {
			Name: "fsync-fail", Family: familyDisk, About: "every fsync of a member fails: it must end before it acknowledges anything",
			Lasts: [2]time.Duration{3 * time.Second, 5 * time.Second}, Needs: needsTracer,
			Inject: failSync,
		}, {
			Name: "disk-full", Family: familyDisk, About: "no room on the disk of a member", Needs: needsSmallDisk,
			Lasts: [2]time.Duration{3 * time.Second, 8 * time.Second}, Inject: fillDisk,
		},
	}
}

// needsTracer: strace changes what system calls return.
func needsTracer(g *Grid) error {
	if g.Durability() == "memory" {
		return errors.New("durability memory syncs nothing")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		return errors.New("needs strace")
	}
	return nil
}

// tracer is a strace attached to a member.
type tracer struct {
	process *procgrid.Process
	output  string
}

// stopTime is how soon a member must have ended after its disk has failed.
const stopTime = 5 * time.Second

// endsWithin reports whether a member's process ends in time.
func (m *Member) endsWithin(d time.Duration) bool {
	for deadline := time.Now().Add(d); m.Running(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// trace has every sync of a member injected with something.
func trace(g *Grid, m *Member, what string) (*tracer, error) {
	pid := m.pid()
	if pid == 0 {
		return &tracer{}, fmt.Errorf("member %s does not run", m.Name)
	}
	tr := &tracer{output: filepath.Join(g.cfg.Dir, m.Name+".strace")}
	var said bytes.Buffer
	p, err := g.hosts.Local.Process(&said, &said, "strace", "-f", "-p", fmt.Sprint(pid), "-o", tr.output,
		"-e", "trace=fsync,fdatasync,sync_file_range", "-e", "inject=fsync,fdatasync:"+what)
	if err != nil {
		return tr, err
	}
	tr.process = p
	select {
	case <-p.Done:
		if m.endsWithin(stopTime) {
			break // it ended at once
		}
		return tr, fmt.Errorf("strace cannot attach: %s", bytes.TrimSpace(said.Bytes()))
	case <-time.After(500 * time.Millisecond):
	}
	return tr, nil
}

// stop detaches, and returns how many calls were changed.
func (tr *tracer) stop() (int, error) {
	if tr.process == nil {
		return 0, nil
	}
	// A tracer that was ended has done what it should, whatever it reports.
	_ = tr.process.Terminate(5 * time.Second)
	b, err := os.ReadFile(tr.output)
	return bytes.Count(b, []byte("(INJECTED)")) + bytes.Count(b, []byte("(DELAYED)")), err
}

// slowDisks makes the disks of a minority slow, or those of all, which is no
// reason to lose anything: writes are acknowledged, later. Those of all are not
// as slow as that of one may be: a vote waits for a sync of who asks and one of
// who grants it, and both together must take less than the election timeout.
func slowDisks(_ context.Context, t *Target) (Injected, error) {
	victims, most := shuffled(t.Grid.members, t.Rand), 200*time.Millisecond
	if t.Rand.IntN(2) == 0 {
		victims, most = victims[:max(1, (len(victims)-1)/2)], 600*time.Millisecond
	}
	d := between(t.Rand, 100*time.Millisecond, most).Round(time.Millisecond)
	tracers, errs := make([]*tracer, len(victims)), make([]error, len(victims))
	var all sync.WaitGroup
	for i, m := range victims {
		all.Go(func() { tracers[i], errs[i] = trace(t.Grid, m, fmt.Sprintf("delay_exit=%d", d.Microseconds())) })
	}
	all.Wait()
	return Injected{fmt.Sprint(namesOf(victims), " ", d), func(context.Context) error {
		var errs []error
		for _, tr := range tracers {
			_, err := tr.stop()
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}}, errors.Join(errs...)
}

// failSync expects a member to end by itself as soon as a sync has failed: what
// was written before may be lost, and a sync that is tried again may succeed
// without it.
func failSync(ctx context.Context, t *Target) (Injected, error) {
	m := t.Grid.leader(ctx, t.Rand)
	t.Grid.allowEnd(m, true)
	tr, err := trace(t.Grid, m, "error=EIO")
	return Injected{m.Name, func(context.Context) error {
		defer t.Grid.allowEnd(m, false)
		n, err := tr.stop()
		switch {
		case err != nil:
			return err
		case m.endsWithin(stopTime):
			m.take()
			return t.Grid.Start(m)
		case n > 0:
			return Violated("member %s goes on after %d of its syncs have failed", m.Name, n)
		}
		return fmt.Errorf("member %s synced nothing", m.Name)
	}}, err
}

func needsSmallDisk(g *Grid) error {
	switch {
	case g.Durability() == "memory":
		return errors.New("durability memory needs no disk")
	case g.small == nil:
		return g.noSmall
	}
	return nil
}

// fillDisk fills the small disk. Its member may end, or refuse, or do without;
// whatever it was acknowledged is there.
func fillDisk(_ context.Context, t *Target) (Injected, error) {
	m := t.Grid.small
	filler := filepath.Join(filepath.Dir(m.Dir), "filler")
	t.Grid.allowEnd(m, true)
	f, err := os.Create(filler)
	if err != nil {
		return Injected{m.Name, nothing}, err
	}
	n, block := 0, make([]byte, 1<<20)
	for {
		k, err := f.Write(block)
		n += k
		if err != nil && len(block) == 4096 {
			break // full to the last page
		} else if err != nil {
			block = block[:4096]
		}
	}
	return Injected{fmt.Sprintf("%s, %d MiB", m.Name, n>>20), func(context.Context) error {
		defer t.Grid.allowEnd(m, false)
		if err := errors.Join(f.Close(), os.Remove(filler)); err != nil {
			return err
		}
		if !m.Running() {
			m.take()
			return t.Grid.Start(m)
		}
		return nil
	}}, nil
}
