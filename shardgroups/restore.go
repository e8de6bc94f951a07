package shardgroups

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// restoreBatch is what the next entry of a group that is being restored carries:
// frames of the archive, from one on.
type restoreBatch struct {
	first  uint64
	frames []archive.Frame
}

func (r *restoreBatch) add(b *groupstate.Builder) {
	for i, f := range r.frames {
		b.Load(r.first+uint64(i), f)
	}
}

// maxRestoreBatch bounds the bytes of the frames of one entry, beyond the first.
const maxRestoreBatch = archive.MaxContent

// restoreTimeout is after how long frames that were not applied are logged again.
const restoreTimeout = 2 * proposeTimeout

// maybeRestore starts the restore stream if this replica leads a group that waits
// for its backup.
func (g *Group) maybeRestore() {
	_, loading := g.loading()
	g.qmu.Lock()
	begin := loading && !g.restoring && !g.stopped
	g.restoring = g.restoring || begin
	g.qmu.Unlock()
	if !begin {
		return
	}
	g.host.spawn(func() {
		err := g.restore()
		g.qmu.Lock()
		g.restoring = false
		g.restoreBatch = nil
		g.qmu.Unlock()
		if err == nil || g.host.ctx.Err() != nil {
			return
		}
		if g.restoreProblem != err.Error() {
			g.restoreProblem = err.Error()
			g.host.cfg.Logger.Error("a group cannot be restored from its backup", "group", g.id, "error", err)
		}
	})
}

// restore brings the group's backup through its log, for as long as this replica
// leads and nobody else does the same.
func (g *Group) restore() error {
	listed, _ := g.host.system.View().Group(g.id)
	if g.host.cfg.BackupDir == "" || listed.Backup == 0 {
		return errors.New("this member has no backup of it")
	}
	b, err := OpenBackup(g.host.cfg.BackupDir, listed.Backup)
	if err != nil {
		return err
	}
	defer b.Close()
	from, _ := g.loading()
	at, err := b.find(from)
	if err != nil {
		return b.wrap(err)
	}
	log := g.host.cfg.Logger.With("group", g.id, "from", listed.Backup, "frames", at.frames)
	if !at.same {
		log.Warn("the restore of a group begins anew: it was begun from another backup", "done", from.Frames)
		g.proposeFrames(&restoreBatch{from.Frames, []archive.Frame{at.footer}})
		g.awaitLoad(from)
		return nil // and once more, from the beginning
	}
	log.Info("restoring a group from its backup", "done", from.Frames)
	s := restoreStream{r: at.reader(b), next: from.Frames}
	logged := time.Now()
	for g.Leader().Self {
		now, loading := g.loading()
		switch {
		case !loading:
			log.Info("restored a group from its backup")
			return nil
		case now.Failures > from.Failures:
			return errors.New("the state refuses the backup, as damaged or of a newer version")
		case now.Frames == s.next:
			if err := s.read(); err != nil {
				return b.wrap(err)
			}
		case now.Frames != s.batch.first:
			return nil // another leader was at work: find again where the load stands
		}
		if time.Since(logged) > 5*time.Second {
			logged = time.Now()
			log.Info("restoring a group from its backup", "done", now.Frames)
		}
		g.proposeFrames(&s.batch)
		if !g.awaitLoad(now) {
			return nil // stopped, or another leads: whoever has the backup goes on
		}
	}
	return nil
}

// proposeFrames has the next entry carry frames.
func (g *Group) proposeFrames(r *restoreBatch) {
	g.qmu.Lock()
	g.restoreBatch = r
	g.wantEntry = true
	g.qmu.Unlock()
	g.poke()
}

// position is where in a backup a load stands.
type position struct {
	same   bool   // what was loaded is of this backup
	frames uint64 // of all of it
	first  uint64
	offset int64
	footer archive.Frame
}

// find reads a backup to its end, since nothing is loaded from one that is not
// whole, and finds where a load stands.
func (b *Backup) find(l groupstate.Loading) (position, error) {
	r, err := archive.NewReader(b.reader())
	if err != nil {
		return position{}, err
	}
	var p archive.Progress
	var at position
	for {
		if p.Frames() == l.Frames && !p.Done() {
			at.same, at.first, at.offset = p.Sum() == l.Sum, r.Frame(), r.Offset()
		}
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			at.frames = p.Frames()
			return at, nil
		}
		if err != nil {
			return at, err
		}
		if err := p.Take(f, nil); err != nil {
			return at, r.Fault(err)
		}
		if p.Done() {
			at.footer = archive.Frame{Type: f.Type, Content: bytes.Clone(f.Content)}
		}
	}
}

// reader reads on from the position.
func (p *position) reader(b *Backup) *archive.Reader {
	r := bufio.NewReaderSize(io.NewSectionReader(b.f, p.offset, 1<<62-p.offset), 256<<10)
	return archive.ResumeReader(r, p.first, p.offset)
}

// restoreStream reads an archive, as many frames at a time as go into an entry.
type restoreStream struct {
	r     *archive.Reader
	next  uint64 // the frame after those of batch
	ahead *archive.Frame
	batch restoreBatch
}

func (s *restoreStream) read() error {
	s.batch = restoreBatch{first: s.next}
	for size := 0; ; {
		if s.ahead == nil {
			f, err := s.r.Next()
			if errors.Is(err, io.EOF) && len(s.batch.frames) > 0 {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read the backup on: %w", err)
			}
			s.ahead = &archive.Frame{Type: f.Type, Content: bytes.Clone(f.Content)}
		}
		size += len(s.ahead.Content)
		if len(s.batch.frames) > 0 && size > maxRestoreBatch {
			return nil
		}
		s.batch.frames = append(s.batch.frames, *s.ahead)
		s.next++
		s.ahead = nil
	}
}

func (g *Group) loading() (groupstate.Loading, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.state.Loading()
}

// awaitLoad waits until a load has moved on from where it was, or for long
// enough to try again. It reports whether to go on.
func (g *Group) awaitLoad(was groupstate.Loading) bool {
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
		case <-g.stop:
			return false
		}
	}
}

// Loading reports whether the group is being restored from a backup, and how many
// frames of it are in.
func (g *Group) Loading() (frames uint64, loading bool) {
	l, loading := g.loading()
	return l.Frames, loading
}

// Begun reports whether the group has been told what it owns.
func (g *Group) Begun() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.state.Owned() > 0
}
