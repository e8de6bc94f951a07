package identity

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/protocol"
)

// Run is one run of a process on a member's directory. Number rises at every start and
// at every graceful shutdown, and is on disk before the member reports it; Nonce is the
// process's own. So if a member reports a number that others know with another nonce,
// its directory is an older copy.
type Run struct {
	Number uint64
	Nonce  uint64
}

func newNonce() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return binary.BigEndian.Uint64(b[:]) | 1
}

// Run returns the present run on the directory.
func (d *Dir) Run() Run { return Run{d.m.Load().Starts, d.nonce} }

// EndRun notes that the process shuts down gracefully.
func (d *Dir) EndRun() error {
	return d.Update(func(m *Member) { m.Starts++ })
}

// OlderThan reports whether a directory that was started as r is an older copy, given
// another run on it that is known.
func (r Run) OlderThan(known Run) bool {
	return known.Number > r.Number || known.Number == r.Number && known.Nonce != r.Nonce
}

// RunOf returns the last run that is known of another member.
func (m *Member) RunOf(u protocol.UUID) Run {
	for _, p := range m.Peers {
		if p.Incarnation == u {
			return p.Run
		}
	}
	return Run{}
}

// NoteRun stores the run of another member of the cluster, unless a later one is stored
// already. It adds the member to the peers if it is not one yet.
func (d *Dir) NoteRun(u protocol.UUID, address string, r Run) error {
	m := d.m.Load()
	if r.Number <= m.RunOf(u).Number {
		return nil
	}
	return d.Update(func(m *Member) {
		for i := range m.Peers {
			if m.Peers[i].Incarnation == u {
				m.Peers[i].Run = r
				return
			}
		}
		m.Peers = append(m.Peers, Peer{Incarnation: u, Address: address, Run: r})
	})
}

const lostSuffix = ".lost"

// Renew makes the member a new incarnation in its cluster, which has no data, because
// the data that it had is lost, damaged or old. The old log is set aside as
// raft/<incarnation>.lost, and replaces the one that was set aside before.
func (d *Dir) Renew() error {
	if d.m.Load().Blank() {
		return errors.New("a blank member has nothing to lose")
	}
	err := d.Update(func(m *Member) {
		m.Incarnation, m.Starts, m.Started = NewUUID(), 1, nil
		m.Founder, m.FounderAddress = protocol.UUID{}, ""
	})
	if err != nil {
		return err
	}
	return d.setAside()
}

// setAside renames the log of a former incarnation, and removes the one that was
// renamed before. There is such a log after Renew, also after a crash during Renew.
func (d *Dir) setAside() error {
	if d.Volatile() {
		return nil
	}
	raft := filepath.Join(d.path, raftName)
	entries, err := os.ReadDir(raft)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	var old, lost []string
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), lostSuffix):
			lost = append(lost, e.Name())
		case e.Name() != d.m.Load().Incarnation.String():
			old = append(old, e.Name())
		}
	}
	for _, name := range old {
		for _, l := range lost {
			if err := os.RemoveAll(filepath.Join(raft, l)); err != nil {
				return fmt.Errorf("remove a log that was set aside: %w", err)
			}
		}
		lost = []string{name + lostSuffix}
		if err := os.Rename(filepath.Join(raft, name), filepath.Join(raft, lost[0])); err != nil {
			return fmt.Errorf("set the log aside: %w", err)
		}
	}
	return nil
}
