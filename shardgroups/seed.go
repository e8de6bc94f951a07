package shardgroups

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// SeedInfo describes a seed: the saved state of a group whose majority is lost.
// It closes a seed's file, after the state itself.
type SeedInfo struct {
	_       struct{}      `cbor:",toarray"`
	Cluster protocol.UUID // it was saved from
	Name    string        // of the cluster
	Group   protocol.GroupID
	Applied uint64 // log index of the last entry in it
	Length  uint64 // bytes of the state
	Sum     uint64 // groupstate.LoadSum of them
}

// A seed's file is the magic, the state, the encoding of its SeedInfo, the
// length of that as four bytes big-endian, and the magic again.
const seedMagic = "quorate-seed-1\n"

const maxSeedInfo = 4096

// SeedName is the name of the file that holds a group's seed.
func SeedName(g protocol.GroupID) string {
	if g == protocol.SystemGroup {
		return "system"
	}
	return fmt.Sprintf("group-%d", g)
}

// Seed is an open seed. Close it.
type Seed struct {
	Info SeedInfo
	f    *os.File
}

// writeSeed writes a seed, durably, and returns its description.
func writeSeed(path string, info SeedInfo, state func(io.Writer) error) (SeedInfo, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return info, err
	}
	defer f.Close()
	if _, err := io.WriteString(f, seedMagic); err != nil {
		return info, err
	}
	w := &summing{w: f}
	if err := state(w); err != nil {
		return info, err
	}
	info.Length, info.Sum = w.length, w.sum
	tail := protocol.Encode(info)
	tail = binary.BigEndian.AppendUint32(tail, uint32(len(tail)))
	if _, err := f.Write(append(tail, seedMagic...)); err != nil {
		return info, err
	}
	return info, f.Sync()
}

// summing counts what is written through it.
type summing struct {
	w           io.Writer
	length, sum uint64
}

func (s *summing) Write(b []byte) (int, error) {
	s.length += uint64(len(b))
	s.sum = groupstate.LoadSum(s.sum, b)
	return s.w.Write(b)
}

// OpenSeed opens a seed and checks its form, and with Check its content.
func OpenSeed(path string) (*Seed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Seed{f: f}
	if err := s.readInfo(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return s, nil
}

var errSeed = errors.New("not a seed, or damaged: make it again with quorate recover")

func (s *Seed) readInfo() error {
	st, err := s.f.Stat()
	if err != nil {
		return err
	}
	const foot = 4 + len(seedMagic)
	head, tail := make([]byte, len(seedMagic)), make([]byte, foot)
	if st.Size() < int64(len(head)+foot) {
		return errSeed
	}
	if _, err := s.f.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := s.f.ReadAt(tail, st.Size()-int64(foot)); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(tail))
	body := st.Size() - int64(len(head)+foot) - n
	if string(head) != seedMagic || string(tail[4:]) != seedMagic || n > maxSeedInfo || body < 0 {
		return errSeed
	}
	b := make([]byte, n)
	if _, err := s.f.ReadAt(b, int64(len(head))+body); err != nil {
		return err
	}
	if err := protocol.Decode(b, &s.Info); err != nil || s.Info.Length != uint64(body) {
		return errSeed
	}
	return nil
}

// Check reads the whole state and compares its sum.
func (s *Seed) Check() error {
	w := &summing{w: io.Discard}
	if _, err := io.Copy(w, s.State()); err != nil {
		return err
	}
	if w.sum != s.Info.Sum {
		return errSeed
	}
	return nil
}

// State reads the state.
func (s *Seed) State() io.Reader {
	return io.NewSectionReader(s.f, int64(len(seedMagic)), int64(s.Info.Length))
}

// chunk reads at most groupstate.MaxLoadChunk bytes of the state from offset on.
func (s *Seed) chunk(offset uint64) ([]byte, error) {
	b := make([]byte, min(groupstate.MaxLoadChunk, s.Info.Length-offset))
	_, err := s.f.ReadAt(b, int64(len(seedMagic))+int64(offset))
	return b, err
}

// Close closes the file.
func (s *Seed) Close() error { return s.f.Close() }

// seedChunk is what the next entry of a group that loads its state carries.
type seedChunk struct {
	offset uint64
	bytes  []byte // empty: the state is complete
	sum    uint64
}

func (c *seedChunk) add(b *groupstate.Builder) {
	if len(c.bytes) > 0 {
		b.Load(c.offset, c.bytes)
	} else {
		b.Loaded(c.offset, c.sum)
	}
}

// feedTimeout is after how long a chunk that was not applied is logged again.
const feedTimeout = 2 * proposeTimeout

// maybeFeed starts to bring the group's state through its log, where this
// replica leads a group that waits for it.
func (g *Group) maybeFeed() {
	g.mu.RLock()
	_, _, loading := g.state.Loading()
	g.mu.RUnlock()
	g.qmu.Lock()
	begin := loading && !g.feeding && !g.stopped
	g.feeding = g.feeding || begin
	g.qmu.Unlock()
	if !begin {
		return
	}
	g.host.spawn(func() {
		err := g.feed()
		g.qmu.Lock()
		g.feeding = false
		g.seedChunk = nil
		g.qmu.Unlock()
		if err == nil || g.host.ctx.Err() != nil {
			return
		}
		if g.feedProblem != err.Error() {
			g.feedProblem = err.Error()
			g.host.cfg.Logger.Error("the saved state of a group cannot be loaded", "group", g.id, "error", err)
		}
	})
}

func (g *Group) feed() error {
	listed, _ := g.host.system.View().Group(g.id)
	if g.host.cfg.SeedDir == "" || listed.Seed == 0 {
		return errors.New("this member has no seed for it")
	}
	seed, err := OpenSeed(filepath.Join(g.host.cfg.SeedDir, SeedName(listed.Seed)))
	if err != nil {
		return err
	}
	defer seed.Close()
	if err := seed.Check(); err != nil {
		return fmt.Errorf("seed of group %d: %w", listed.Seed, err)
	}
	log := g.host.cfg.Logger.With("group", g.id, "from", listed.Seed, "bytes", seed.Info.Length)
	log.Info("loading the saved state of a group")
	_, failed, _ := g.loading()
	told := time.Now()
	for g.Leader().Self {
		offset, failures, loading := g.loading()
		switch {
		case !loading:
			log.Info("the saved state of a group is loaded")
			return nil
		case failures > failed:
			return errors.New("the state refuses it, as damaged or of a newer version")
		case offset > seed.Info.Length:
			return errors.New("another seed was begun")
		}
		c := &seedChunk{offset: offset, sum: seed.Info.Sum}
		if offset < seed.Info.Length {
			if c.bytes, err = seed.chunk(offset); err != nil {
				return err
			}
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			log.Info("loading the saved state of a group", "done", offset)
		}
		g.qmu.Lock()
		g.seedChunk = c
		g.wantEntry = true
		g.qmu.Unlock()
		g.poke()
		if !g.awaitLoad(offset, failures) {
			return nil // stopped, or another leads: whoever has the seed goes on
		}
	}
	return nil
}

func (g *Group) loading() (offset, failures uint64, loading bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.state.Loading()
}

// awaitLoad waits until a load has moved on from where it was, or for long
// enough to try again. It reports whether to go on.
func (g *Group) awaitLoad(offset, failures uint64) bool {
	limit := time.NewTimer(feedTimeout)
	defer limit.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		if o, f, loading := g.loading(); o != offset || f != failures || !loading {
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

// Loading reports whether the group takes over a saved state, and how many
// bytes of it are in.
func (g *Group) Loading() (offset uint64, loading bool) {
	offset, _, loading = g.loading()
	return offset, loading
}

// Begun reports whether the group has been told what it owns.
func (g *Group) Begun() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.state.Owned() > 0
}

// Seeds returns the seeds in a directory, by their descriptions; one that
// cannot be read is an error that names it, beside the others.
func Seeds(dir string) ([]SeedInfo, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var infos []SeedInfo
	var errs []error
	for _, e := range entries {
		if e.Name() != SeedName(protocol.SystemGroup) && !strings.HasPrefix(e.Name(), "group-") {
			continue
		}
		s, err := OpenSeed(filepath.Join(dir, e.Name()))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if SeedName(s.Info.Group) != e.Name() {
			errs = append(errs, fmt.Errorf("%s: it is the seed of group %d", filepath.Join(dir, e.Name()), s.Info.Group))
		} else {
			infos = append(infos, s.Info)
		}
		_ = s.Close()
	}
	return infos, errors.Join(errs...)
}

// SystemSeed reads the seed of a system group.
func SystemSeed(dir string) ([]byte, SeedInfo, error) {
	s, err := OpenSeed(filepath.Join(dir, SeedName(protocol.SystemGroup)))
	if err != nil {
		return nil, SeedInfo{}, err
	}
	defer s.Close()
	if err := s.Check(); err != nil {
		return nil, s.Info, err
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(s.State())
	return b.Bytes(), s.Info, err
}
