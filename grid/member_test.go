package grid_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/internal/ports"
)

const waitTimeout = 60 * time.Second

func start(t *testing.T, cfg grid.Config) *grid.Member {
	t.Helper()
	if cfg.Listen == "" { // where it may be started again
		free, err := ports.Free(1)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Listen = free[0]
	}
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = 2 * time.Second // nobody waits for those that were closed before
	}
	m, err := grid.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return m
}

func ready(t *testing.T, m *grid.Member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	if err := m.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// busyUDP takes a port for UDP that nobody has for TCP.
func busyUDP(t *testing.T) net.PacketConn {
	t.Helper()
	free, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", free[0])
	if err != nil {
		t.Fatal(err)
	}
	return udp
}

// says fails the test unless err has all parts: the reason and the way out.
func says(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestValidate(t *testing.T) {
	good := grid.Config{DataDir: "d"}
	for _, test := range []struct {
		name string
		set  func(*grid.Config)
		want []string // nil: valid
	}{
		{"defaults", func(*grid.Config) {}, nil},
		{"no directory", func(c *grid.Config) { c.DataDir = "" }, []string{"set DataDir", "Memory"}},
		{"unknown durability", func(c *grid.Config) { c.Durability = "tape" }, []string{"tape", "disk or memory"}},
		{"no port", func(c *grid.Config) { c.Listen = "127.0.0.1" }, []string{"HOST:PORT"}},
		{"bad port", func(c *grid.Config) { c.Listen = "127.0.0.1:66666" }, []string{"1 to 65535"}},
		{"wildcard", func(c *grid.Config) { c.Listen, c.Insecure = ":7170", true }, []string{"advertise"}},
		{"wildcard with advertise", func(c *grid.Config) {
			c.Listen, c.Advertise, c.Insecure = "0.0.0.0:7170", "10.0.0.1:7170", true
		}, nil},
		{"not loopback", func(c *grid.Config) { c.Listen = "10.0.0.1:7170" }, []string{"not encrypted", "insecure"}},
		{"insecure", func(c *grid.Config) { c.Listen, c.Insecure = "10.0.0.1:7170", true }, nil},
		{"bad join", func(c *grid.Config) { c.Join = []string{"n2"} }, []string{"join", "HOST:PORT"}},
		{"expect", func(c *grid.Config) { c.BootstrapExpect = -1 }, []string{"bootstrap-expect"}},
		{"name", func(c *grid.Config) { c.Name = "a\nb" }, []string{"name", "control"}},
		{"all at once", func(c *grid.Config) { c.Groups, c.Replicas = -1, 99 }, []string{"groups -1", "replicas 99"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.set(&c)
			err := c.Validate()
			if test.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			says(t, err, test.want...)
			if !errors.Is(err, quorate.ErrInvalid) {
				t.Errorf("%v is not invalid", err)
			}
		})
	}
}

func TestRefusedStarts(t *testing.T) {
	dir := t.TempDir()
	m := start(t, grid.Config{DataDir: dir, Cluster: "prod", Groups: 1})
	ready(t, m)
	try := func(c grid.Config) error {
		x, err := grid.Start(t.Context(), c)
		if err != nil {
			return err
		}
		defer x.Close()
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		defer cancel()
		return x.Ready(ctx)
	}
	t.Run("busy port", func(t *testing.T) {
		err := try(grid.Config{DataDir: t.TempDir(), Listen: m.Addr()})
		says(t, err, "address already in use", "choose another")
	})
	t.Run("port busy for UDP", func(t *testing.T) {
		udp := busyUDP(t)
		defer udp.Close()
		address := udp.LocalAddr().String()
		says(t, try(grid.Config{DataDir: t.TempDir(), Listen: address}), "TCP and UDP")
	})
	t.Run("second process", func(t *testing.T) {
		says(t, try(grid.Config{DataDir: dir, Listen: "127.0.0.1:0"}), "in use by another process")
	})
	t.Run("foreign directory", func(t *testing.T) {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, "holiday.jpg"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		says(t, try(grid.Config{DataDir: d, Listen: "127.0.0.1:0"}), "holiday.jpg", "empty directory")
	})
	t.Run("another cluster", func(t *testing.T) {
		x := start(t, grid.Config{DataDir: t.TempDir(), Join: []string{m.Addr()}, Cluster: "test"})
		eventually(t, "it says whose address it was given", func() bool {
			w := x.Status().Waiting
			return strings.Contains(w, `"prod"`) && strings.Contains(w, `"test"`) && strings.Contains(w, "--cluster")
		})
	})
	t.Run("other groups", func(t *testing.T) {
		err := try(grid.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Join: []string{m.Addr()}, Groups: 7})
		says(t, err, "has 1 groups", "started with 7")
	})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("other settings at a restart", func(t *testing.T) {
		says(t, try(grid.Config{DataDir: dir, Listen: "127.0.0.1:0", Replicas: 5}), "has 3 replicas", "started with 5")
	})
	t.Run("another name of the cluster at a restart", func(t *testing.T) {
		says(t, try(grid.Config{DataDir: dir, Listen: "127.0.0.1:0", Cluster: "test"}), `"prod"`, `"test"`)
	})
	t.Run("lost log", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(dir, "raft")); err != nil {
			t.Fatal(err)
		}
		says(t, try(grid.Config{DataDir: dir, Listen: "127.0.0.1:0"}), "log of group", "missing", "only member", "start with an empty one")
	})
}

func TestWaitingIsTold(t *testing.T) {
	a := start(t, grid.Config{DataDir: t.TempDir(), BootstrapExpect: 3, Name: "a"})
	waitsFor(t, a, "1 of 3 are seen")
	if a.Client() != nil {
		t.Error("a client before the member is ready")
	}
	// Operators may ask all the same.
	if s := status(t, a); s.Ready || s.Waiting == "" || s.Name != "a" {
		t.Errorf("status %+v", s)
	}
	joiner := start(t, grid.Config{DataDir: t.TempDir(), Join: []string{a.Addr()}})
	waitsFor(t, joiner, "a member of a formed cluster at "+a.Addr())
}

// waitsFor waits until a member says what it waits for.
func waitsFor(t *testing.T, m *grid.Member, what string) {
	t.Helper()
	eventually(t, what, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := m.Ready(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, quorate.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		return strings.Contains(err.Error(), what)
	})
}

func TestAddressChanges(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	a := start(t, grid.Config{DataDir: dirs[0], BootstrapExpect: 2, Name: "a"})
	b := start(t, grid.Config{DataDir: dirs[1], BootstrapExpect: 2, Name: "b", Join: []string{a.Addr()}})
	ready(t, a)
	ready(t, b)
	old := b.Addr()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// Another port, another name, and nobody named to join: the directory knows.
	if hold, err := net.Listen("tcp", old); err == nil { // else somebody else has it already
		defer hold.Close()
		go func() {
			for {
				c, err := hold.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	b = start(t, grid.Config{DataDir: dirs[1], Name: "b2"})
	ready(t, b)
	eventually(t, "a knows b's new address and name", func() bool {
		for _, m := range status(t, a).Members {
			if m.Address == b.Addr() && m.Name == "b2" {
				return true
			}
		}
		return false
	})
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", waitTimeout, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	m := start(t, grid.Config{DataDir: t.TempDir()})
	ready(t, m)
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// memberlist's timers take a moment to notice.
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(20 * time.Millisecond)
	}
}
