package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/internal/procgrid"
)

// dataFaults do something to what one member has on disk while it is down.
func dataFaults() []Fault {
	fault := func(name, about string, damage func(*rand.Rand, *Member) (string, error)) Fault {
		return Fault{
			Name: name, Family: familyDisk, About: about, Loses: LosesDisk, Lasts: [2]time.Duration{0, 2 * time.Second},
			Inject: func(_ context.Context, t *Target) (Injected, error) {
				m := shuffled(t.Grid.members, t.Rand)[0]
				t.Grid.Kill(m)
				what, err := damage(t.Rand, m)
				return Injected{m.Name + " " + what, func(ctx context.Context) error { return t.Grid.returns(ctx, m) }}, err
			},
		}
	}
	return []Fault{
		fault("wipe", "a member killed, its data deleted", func(_ *rand.Rand, m *Member) (string, error) {
			return "", os.RemoveAll(m.Dir)
		}),
		fault("bit-flip", "a member killed, up to 16 bits of a file flipped", func(rng *rand.Rand, m *Member) (string, error) {
			file, size, err := someFile(rng, m.Dir)
			if err != nil {
				return "", err
			}
			b, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			n := 1 + rng.IntN(16)
			for range n {
				b[rng.Int64N(size)] ^= 1 << rng.IntN(8)
			}
			return fmt.Sprintf("%d bits of %s", n, below(m, file)), os.WriteFile(file, b, 0o600)
		}),
		fault("truncate", "a member killed, a file cut short", func(rng *rand.Rand, m *Member) (string, error) {
			file, size, err := someFile(rng, m.Dir)
			if err != nil {
				return "", err
			}
			to := rng.Int64N(size)
			return fmt.Sprintf("%s at %d of %d bytes", below(m, file), to, size), os.Truncate(file, to)
		}),
	}
}

func below(m *Member, file string) string {
	rel, err := filepath.Rel(m.Dir, file)
	if err != nil {
		return file
	}
	return rel
}

// ballast is a file of a member that only reserves space: its content does not matter.
const ballast = "ballast"

// someFile returns a file with something in it, drawn by size.
func someFile(rng *rand.Rand, dir string) (file string, size int64, err error) {
	total := int64(0)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == ballast {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		// Small files, such as the member's identity, are as likely as 64 KiB.
		weight := max(info.Size(), 64<<10)
		if total += weight; rng.Int64N(total) < weight {
			file, size = path, info.Size()
		}
		return nil
	})
	if err == nil && file == "" {
		err = errors.New("there is nothing to damage")
	}
	return file, size, err
}

// returns starts a member with damaged data. It comes back, or it refuses with
// the reason, and then its data is deleted as an operator would.
func (g *Grid) returns(ctx context.Context, m *Member) error {
	g.allowEnd(m, true)
	defer g.allowEnd(m, false)
	if err := g.Start(m); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for m.Running() {
		if g.Missing(ctx) == "" {
			return nil
		}
		if err := pauseFor(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return Violated("member %s neither comes back nor says why:\n%s", m.Name, procgrid.Tail(m.LogFile))
		}
	}
	m.take()
	if err := os.RemoveAll(m.Dir); err != nil {
		return err
	}
	return g.Start(m)
}
