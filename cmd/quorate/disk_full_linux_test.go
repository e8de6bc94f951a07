package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// mountsEnv tells a test that it runs in a mount namespace of its own.
const mountsEnv = "QUORATE_TEST_MOUNTS"

const notChecked = "NOT CHECKED: what a member does on a file system that is really full: this process may not mount one"

// inOwnMounts runs a test once more in a process with mounts of its own, which
// go with it, and reports whether this is that process.
func inOwnMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountsEnv) != "" {
		dir := t.TempDir()
		err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
		if err == nil {
			err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m")
		}
		if err == nil {
			err = syscall.Unmount(dir, 0)
		}
		if errors.Is(err, fs.ErrPermission) {
			t.Skipf("%s: %v", notChecked, err)
		} else if err != nil {
			t.Fatal(err)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=30m")
	cmd.Env = append(os.Environ(), mountsEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		t.Skipf("%s: %v", notChecked, err)
	}
	t.Logf("in mounts of its own:\n%s", out)
	if strings.Contains(string(out), notChecked) {
		t.Skip(notChecked)
	}
	if err != nil {
		t.Fail()
	}
	return false
}

// fullDisks is a grid of three processes, each with its data on a file system
// that can be filled.
type fullDisks struct {
	*testing.T
	*procgrid.Grid
	client *client.Client
	most   time.Duration // how long writes go on at least, in each part

	acknowledged, unknown, refused atomic.Int64
	written                        atomic.Int64 // bytes of values
	wrong                          atomic.Pointer[error]
}

const (
	fullDiskSize  = 64 << 20
	roomyDiskSize = 512 << 20
	fullDiskValue = 16 << 10
)

func (d *fullDisks) where(m *procgrid.Member) string { return filepath.Join(d.Dir, "disk-"+m.Name) }

// room returns what is free on the file system of a member.
func (d *fullDisks) room(m *procgrid.Member) uint64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.where(m), &s); err != nil {
		d.Fatal(err)
	}
	return s.Bavail * uint64(s.Bsize)
}

func (d *fullDisks) mount(m *procgrid.Member, size uint64, flags uintptr) {
	d.Helper()
	if err := syscall.Mount("tmpfs", d.where(m), "tmpfs", flags, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		d.Fatalf("mount: %v", err)
	}
}

// fill leaves so much room on the file system of a member, at once.
func (d *fullDisks) fill(m *procgrid.Member, leave uint64) {
	d.Helper()
	f, err := os.OpenFile(filepath.Join(d.where(m), "filler"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		d.Fatal(err)
	}
	if free := d.room(m); free > leave {
		// It takes what there is, and where less is there than a moment ago, that.
		for n := free - leave; n >= 4096; n /= 2 {
			if err := syscall.Fallocate(int(f.Fd()), 0, info.Size(), int64(n)); err == nil {
				return
			}
		}
	}
}

// keepFull leaves no room on the file system of a member, until stop.
func (d *fullDisks) keepFull(m *procgrid.Member) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			d.fill(m, 0)
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() { close(over); <-done }
}

func (d *fullDisks) empty(m *procgrid.Member) {
	d.Helper()
	if err := os.Remove(filepath.Join(d.where(m), "filler")); err != nil {
		d.Fatal(err)
	}
}

func (d *fullDisks) eventually(what string, met func() bool) {
	d.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !met(); time.Sleep(50 * time.Millisecond) {
		if err := d.wrong.Load(); err != nil {
			d.Fatalf("%s: meanwhile a write failed: %v", what, *err)
		}
		if time.Now().After(deadline) {
			d.Fatalf("not within two minutes: %s\n%s", what, d.logs())
		}
	}
}

func (d *fullDisks) logs() string {
	var b strings.Builder
	for _, m := range d.Members {
		fmt.Fprintf(&b, "%s, %d KiB free:\n%s\n", m.Name, d.room(m)>>10, procgrid.Tail(d.LogFile(m)))
	}
	return b.String()
}

func (d *fullDisks) allRun() {
	d.Helper()
	for _, m := range d.Members {
		if ended, err := m.Process.Ended(); ended {
			d.Fatalf("member %s ended: %v\n%s", m.Name, err, procgrid.Tail(d.LogFile(m)))
		}
	}
}

// level returns how short of room a member says that it is.
func (d *fullDisks) level(m *procgrid.Member) string {
	var s protocol.Status
	if cli.Ask(d.Context(), m.Address, protocol.AdminStatus, &s) != nil {
		return ""
	}
	return s.Disk.Level
}

func (d *fullDisks) hashes(m *procgrid.Member) []protocol.GroupHash {
	var r protocol.HashReport
	if cli.Ask(d.Context(), m.Address, protocol.AdminHash, &r) != nil {
		return nil
	}
	return r.Groups
}

// write puts values under keys that were never there before, and counts them,
// until stop.
func (d *fullDisks) write() (stop func()) {
	over, stopped := make(chan struct{}), sync.WaitGroup{}
	sum := dcounter.New(d.client, "sum")
	for w := range 8 {
		values := dmap.New[string, []byte](d.client, "values")
		stopped.Go(func() {
			value := make([]byte, fullDiskValue)
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				err := values.Put(context.Background(), fmt.Sprint(w, "-", d.written.Load(), "-", i), value)
				if err == nil {
					d.written.Add(fullDiskValue)
					_, err = sum.Add(context.Background(), 1)
					if err == nil {
						d.acknowledged.Add(1)
					}
				}
				switch {
				case err == nil:
				case errors.Is(err, quorate.ErrOutcomeUnknown):
					d.unknown.Add(1)
				case errors.Is(err, quorate.ErrReadOnly):
					d.refused.Add(1)
				case quorate.SafeToRetry(err): // overloaded, while leaders change
				default:
					d.wrong.CompareAndSwap(nil, &err)
					return
				}
				if d.most > 0 || err != nil { // a soak is to write for long, not much
					time.Sleep(250 * time.Millisecond)
				}
			}
		})
	}
	return func() { close(over); stopped.Wait() }
}

// least watches the room of members, until it is told to return the least that
// there was.
func (d *fullDisks) least(members ...*procgrid.Member) (least func() uint64) {
	over, done := make(chan struct{}), make(chan struct{})
	most := ^uint64(0)
	go func() {
		defer close(done)
		for {
			for _, m := range members {
				most = min(most, d.room(m))
			}
			select {
			case <-over:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(over); <-done; return most }
}

// whole waits until all replicas run, and are the same, and looks whether the
// counter is what was acknowledged.
func (d *fullDisks) whole() {
	d.Helper()
	d.eventually("the replicas are the same", func() bool {
		first := d.hashes(d.Members[0])
		return len(first) == 3 && slices.Equal(first, d.hashes(d.Members[1])) && slices.Equal(first, d.hashes(d.Members[2]))
	})
	n, err := dcounter.New(d.client, "sum").Get(d.Context())
	if least, most := d.acknowledged.Load(), d.acknowledged.Load()+d.unknown.Load(); err != nil || n < least || n > most {
		d.Errorf("%d counted, %v; %d acknowledged, %d unknown", n, err, least, most-least)
	}
}

// TestFullDisk fills the file systems of members, which are processes: first by
// what is written, of one, then of all; then of one by something else, to the
// last byte. QUORATE_SOAK_DISK says how long writes go on in each part.
func TestFullDisk(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	dir := t.TempDir()
	g, err := procgrid.New(dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	if g.Binary, err = exec.LookPath("quorate"); err != nil {
		t.Fatal(err)
	}
	d := &fullDisks{T: t, Grid: g}
	d.most, _ = time.ParseDuration(os.Getenv("QUORATE_SOAK_DISK"))
	g.Args = []string{"--http", "off"}
	for i, m := range g.Members {
		if err := os.Mkdir(d.where(m), 0o700); err != nil {
			t.Fatal(err)
		}
		size := uint64(roomyDiskSize)
		if i == 2 {
			size = fullDiskSize
		}
		d.mount(m, size, 0)
		m.Data = filepath.Join(d.where(m), "data")
	}
	d.client, err = g.StartAll(t.Context(), client.WithOperationTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = d.client.Close()
		_ = g.Stop(40 * time.Second)
		for _, m := range g.Members {
			_ = syscall.Unmount(d.where(m), syscall.MNT_DETACH)
		}
	}()
	small := g.Members[2]

	t.Log("one is full of what is written")
	began, least, stop := time.Now(), d.least(small), d.write()
	d.eventually("the small one stops its replicas", func() bool {
		l := d.level(small)
		return (l == "hard" || l == "out") && len(d.hashes(small)) == 0
	})
	at := d.acknowledged.Load()
	d.eventually("the others go on", func() bool { return d.acknowledged.Load() > at+500 && time.Since(began) > d.most })
	stop()
	left := least()
	t.Logf("%v: %d puts, %d refused, %d unknown; at least %d KiB were free", time.Since(began).Round(time.Second),
		d.acknowledged.Load(), d.refused.Load(), d.unknown.Load(), left>>10)
	if left == 0 {
		t.Error("the file system was full")
	}
	d.allRun()
	d.mount(small, roomyDiskSize, syscall.MS_REMOUNT)
	d.eventually("it has room", func() bool { return d.level(small) == "ok" })
	d.whole()

	t.Log("all are full of what is written")
	for _, m := range g.Members {
		d.fill(m, 40<<20)
	}
	began, least, stop = time.Now(), d.least(g.Members...), d.write()
	refused := d.refused.Load()
	d.eventually("writes are refused", func() bool {
		return d.refused.Load() > refused+20 && time.Since(began) > d.most
	})
	if _, err := dmap.New[string, []byte](d.client, "values").Delete(t.Context(), "none"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := dmap.New[string, string](d.client, "values").Put(t.Context(), "one more", "x"); !errors.Is(err, quorate.ErrReadOnly) || !strings.Contains(fmt.Sprint(err), "no free space on the disk of") {
		t.Errorf("put: %v", err)
	}
	stop()
	left = least()
	t.Logf("%v: %d puts, %d refused, %d unknown; at least %d KiB were free", time.Since(began).Round(time.Second),
		d.acknowledged.Load(), d.refused.Load(), d.unknown.Load(), left>>10)
	if left == 0 {
		t.Error("the file system was full")
	}
	d.allRun()
	for _, m := range g.Members {
		d.empty(m)
	}
	d.whole()

	t.Log("one is full to the last byte, of something else")
	stop, roomy := d.write(), d.keepFull(small)
	d.eventually("it sees that", func() bool { return d.level(small) == "out" })
	at = d.acknowledged.Load()
	d.eventually("the others go on", func() bool { return d.acknowledged.Load() > at+100 })
	stop()
	d.allRun()

	t.Log("and is started then")
	small.Process.Kill()
	if err := g.Start(small); err != nil {
		t.Fatal(err)
	}
	said := ""
	d.eventually("it waits, or says why it does not", func() bool {
		b, _ := os.ReadFile(d.LogFile(small))
		said = string(b)
		ended, _ := small.Process.Ended()
		return ended || strings.Contains(said, "no free space is left on the disk")
	})
	roomy()
	d.empty(small)
	if ended, err := small.Process.Ended(); ended {
		t.Logf("it has ended: %v\n%s", err, procgrid.Tail(d.LogFile(small)))
		if !strings.Contains(said, "no space left on device") {
			t.Error("it does not say why")
		}
		if err := g.Start(small); err != nil {
			t.Fatal(err)
		}
	}
	d.whole()
}
