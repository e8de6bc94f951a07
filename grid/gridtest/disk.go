package gridtest

import (
	"sync/atomic"
	"time"

	"github.com/lni/vfs"
)

// WithMemoryDisks keeps logs and snapshots on file systems in memory that distinguish
// what was synced from what was only written: see PowerLoss and Disk. member.json stays
// a file of the system's file system, and is synced there. The check of a member's data
// before it starts, which reads that file system, is left out.
func WithMemoryDisks() Option { return func(o *options) { o.disks = true } }

// Disk is a member's file system in memory.
type Disk struct {
	files *vfs.MemFS // strict: knows what was synced
	fs    *vfs.ErrorFS
	slow  atomic.Int64 // nanoseconds that each sync takes
	left  atomic.Int64 // writes and syncs until it fails; 0: it does not
	died  atomic.Bool
	kill  atomic.Pointer[func()] // ends the member that runs on it
}

func newDisk() *Disk {
	d := &Disk{files: vfs.NewStrictMem()}
	d.fs = vfs.Wrap(withSpace{d.files}, d)
	return d
}

// withSpace answers the engine how much free space there is, which memory does not
// know.
type withSpace struct{ *vfs.MemFS }

func (withSpace) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: 1 << 40}, nil
}

// MaybeError is called before each operation of the engine on its files. It
// never makes one fail: the engine would end the process, and with it the test.
// Instead it ends the member there and then: nothing of it gets out any more,
// and nothing is synced.
func (d *Disk) MaybeError(op vfs.Op) error {
	if op == vfs.OpRead {
		return nil
	}
	if op == vfs.OpSync {
		time.Sleep(time.Duration(d.slow.Load()))
	}
	if d.left.Load() > 0 && d.left.Add(-1) == 0 {
		d.lose()
	}
	return nil
}

// lose makes everything that is not synced by now, or synced later, lost.
func (d *Disk) lose() {
	d.died.Store(true)
	if kill := d.kill.Load(); kill != nil {
		(*kill)()
	}
	d.files.SetIgnoreSyncs(true)
}

// recover discards what was not synced. Nobody uses the disk meanwhile.
func (d *Disk) recover() {
	d.files.ResetToSyncedState()
	d.files.SetIgnoreSyncs(false)
	d.slow.Store(0)
	d.left.Store(0)
	d.died.Store(false)
}

// Slow makes every sync of the member take that long; 0 makes the disk healthy. The
// groups that the member leads are as slow as its disk.
func (d *Disk) Slow(sync time.Duration) { d.slow.Store(int64(sync)) }

// Fail makes the disk fail at the n-th write or sync from now on, as a disk does that
// is full or broken. An engine that cannot write its log must end its process: so the
// member dies at that moment, and what it has not synced is lost. See Failed.
func (d *Disk) Fail(n int) { d.left.Store(int64(n)) }

// Failed reports whether the member has died because of Fail. Call PowerLoss for it
// then; after that it can be restarted.
func (d *Disk) Failed() bool { return d.died.Load() }

// Disk returns a member's disk. It needs WithMemoryDisks.
func (c *Cluster) Disk(i int) *Disk {
	c.t.Helper()
	d := c.nodes[i].disk
	if d == nil {
		c.t.Fatal("the cluster was started without WithMemoryDisks")
	}
	return d
}

// PowerLoss ends members at the same moment, and what they had not synced is lost. It
// needs WithMemoryDisks.
func (c *Cluster) PowerLoss(members ...int) {
	c.t.Helper()
	for _, i := range members {
		c.nodes[i].network().Kill() // nothing gets out from here on
	}
	for _, i := range members {
		c.Disk(i).lose()
	}
	for _, i := range members {
		c.Kill(i)
		c.Disk(i).recover()
	}
}
