package shardgroups

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// restoreTimeout is how long to wait until frames that were not applied are logged
// again.
const restoreTimeout = 2 * proposeTimeout

// A restorer sends a group's backup through the group's log, while this replica leads
// and the group waits for its backup.
type restorer struct {
	group   *Group
	running atomic.Bool // restore runs
	problem string      // why it failed last; of restore alone
}

// maybeStart starts the restore stream if this replica leads a group that waits
// for its backup.
func (r *restorer) maybeStart() {
	g := r.group
	if _, loading := g.loading(); !loading || g.proposer.isStopped() || !r.running.CompareAndSwap(false, true) {
		return
	}
	g.host.spawn(func() {
		err := r.restore()
		g.proposer.proposeFrames(nil)
		defer r.running.Store(false)
		if err == nil || g.host.ctx.Err() != nil {
			return
		}
		if r.problem != err.Error() {
			r.problem = err.Error()
			g.host.cfg.Logger.Error("restore failed", "group", uint64(g.id), "err", err)
		}
	})
}

// restore sends the group's backup through its log, as long as this replica leads and
// no other member does the same.
func (r *restorer) restore() error {
	g := r.group
	listed, _ := g.host.system.View().Group(g.id)
	if g.host.cfg.BackupDir == "" || listed.Backup == 0 {
		return errors.New("this member has no backup of it")
	}
	b, err := extract.OpenBackup(g.host.cfg.BackupDir, listed.Backup)
	if err != nil {
		return err
	}
	defer b.Close()
	from, _ := g.loading()
	at, err := b.Find(from)
	if err != nil {
		return b.Wrap(err)
	}
	log := g.host.cfg.Logger.With("group", uint64(g.id), "backup", listed.Backup, "frames", at.Frames)
	if !at.Same {
		log.Warn("restore begins anew: it was begun from another backup", "done", from.Frames)
		g.proposer.proposeFrames(&extract.Batch{First: from.Frames, Frames: []archive.Frame{at.Footer}})
		r.await(from)
		return nil // and once more, from the beginning
	}
	log.Info("restoring from a backup", "done", from.Frames)
	s := b.Stream(at)
	logged := time.Now()
	for g.Leader().Self {
		now, loading := g.loading()
		switch {
		case !loading:
			log.Info("restored from a backup")
			return nil
		case now.Failures > from.Failures:
			return errors.New("the state refuses the backup, as damaged or of a newer version")
		case now.Frames == s.Next():
			if err := s.Read(); err != nil {
				return b.Wrap(err)
			}
		case now.Frames != s.Batch.First:
			return nil // another leader has logged frames: find out again how far the load is
		}
		if time.Since(logged) > 5*time.Second {
			logged = time.Now()
			log.Info("restoring from a backup", "done", now.Frames)
		}
		batch := s.Batch // the entry is built later, and s continues to read
		g.proposer.proposeFrames(&batch)
		if !r.await(now) {
			return nil // stopped, or another leads: a leader that has the backup goes on
		}
	}
	return nil
}

// proposeFrames makes the next entry carry frames; nil: none.
func (p *proposer) proposeFrames(r *extract.Batch) {
	p.mu.Lock()
	p.restoreBatch = r
	p.wantEntry = p.wantEntry || r != nil
	p.mu.Unlock()
	p.poke()
}

func (g *Group) loading() (groupstate.Loading, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.state.Loading()
}

// await waits until a load has made progress, or until it is time to try again. It
// reports whether to continue.
func (r *restorer) await(was groupstate.Loading) bool {
	g := r.group
	limit := time.NewTimer(restoreTimeout)
	defer limit.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		if now, loading := g.loading(); now != was || !loading {
			return true
		}
		select {
		case <-poll.C:
		case <-limit.C:
			return true
		case <-g.proposer.stop:
			return false
		}
	}
}

// Loading reports whether the group is being restored from a backup, and how many
// frames it has applied.
func (g *Group) Loading() (frames uint64, loading bool) {
	l, loading := g.loading()
	return l.Frames, loading
}

// Begun reports whether the group knows which partitions it owns.
func (g *Group) Begun() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.state.Owned() > 0
}
