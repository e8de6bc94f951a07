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

// Life is one run of a process on a member's directory. Number rises at every
// start and at every orderly stop and is on disk before anybody hears of it;
// Nonce is the process's own. So a member that tells of a number that was heard
// of with another nonce has an older copy of its directory.
type Life struct {
	Number uint64
	Nonce  uint64
}

func newNonce() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return binary.BigEndian.Uint64(b[:]) | 1
}

// Life returns the present life of the directory.
func (d *Dir) Life() Life { return Life{d.m.Load().Starts, d.nonce} }

// EndLife notes that the process stops in order.
func (d *Dir) EndLife() error {
	return d.Update(func(m *Member) { m.Starts++ })
}

// OlderThan reports whether a directory that was started as l is an older copy,
// where another life of it is known.
func (l Life) OlderThan(known Life) bool {
	return known.Number > l.Number || known.Number == l.Number && known.Nonce != l.Nonce
}

// LifeOf returns the last life that is kept of another member.
func (m *Member) LifeOf(u protocol.UUID) Life {
	for _, p := range m.Peers {
		if p.Incarnation == u {
			return p.Life
		}
	}
	return Life{}
}

// NoteLife keeps the life of another member of the cluster, where none is kept that
// is later. A member that is not listed as a peer yet is listed from now on.
func (d *Dir) NoteLife(u protocol.UUID, address string, l Life) error {
	m := d.m.Load()
	if l.Number <= m.LifeOf(u).Number {
		return nil
	}
	return d.Update(func(m *Member) {
		for i := range m.Peers {
			if m.Peers[i].Incarnation == u {
				m.Peers[i].Life = l
				return
			}
		}
		m.Peers = append(m.Peers, Peer{Incarnation: u, Address: address, Life: l})
	})
}

const lostSuffix = ".lost"

// Renew makes the member a new incarnation of its cluster, one that has no
// data: what it had is lost, damaged or old. The old log is set aside as
// raft/<incarnation>.lost, in place of the last that was.
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

// setAside renames the log of another incarnation than the present one, and
// removes one that was renamed before. Such a log is there after Renew, or
// where a process died in it.
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
