package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/protocol"
)

// Format is the version of member.json, and of all else in the directory, that this
// package writes. Format 1 was before the first release, in other encodings.
const Format = 2

const (
	fileName = "member.json"
	tempName = "member.json.tmp"
	lockName = "member.lock"
	raftName = "raft"
	// seedName is where groups were saved under format 1.
	seedName = "seed"
)

// Replica is a replica that this incarnation has started, or was about to start.
type Replica struct {
	Group     protocol.GroupID   `json:"group"`
	Replica   protocol.ReplicaID `json:"replica"`
	NonVoting bool               `json:"non_voting,omitempty"` // as it was first started
	// Started is set after the replica's first start has succeeded. From then on
	// a missing log means lost data.
	Started bool `json:"started"`
	// Alone is set while the group has no other voter, as far as the member knows.
	Alone bool `json:"alone,omitempty"`
}

// Peer is another member of the cluster, as this one knows it.
type Peer struct {
	Incarnation protocol.UUID
	Address     string
	Voter       bool // it votes in a group in which this member votes
	Run         Run  // the last that it has reported
}

// Member is the content of member.json. Treat it as immutable: Update replaces
// it.
type Member struct {
	Format      int
	Name        string
	Incarnation protocol.UUID
	Starts      uint64 // rises at every start and at every orderly stop

	// Cluster is the cluster that the member has enlisted with; zero: it is blank.
	Cluster     protocol.UUID
	ClusterName string
	// Founder is the incarnation that founds, or has founded, Cluster.
	Founder        protocol.UUID
	FounderAddress string
	// Recovered is the cluster whose backups Cluster was restored from, if this member
	// has founded it from backups.
	Recovered protocol.UUID
	// Formed is set once the member has seen that the cluster is formed. Before that
	// the member may be released from the cluster, after it never.
	Formed bool

	// Settings of the cluster, fixed at its first start; zero before they are
	// known.
	Durability string
	Partitions uint32
	Groups     uint32
	Replicas   uint32

	// Level is the highest level of state that the directory may hold.
	Level uint32

	Started []Replica
	Peers   []Peer
}

// Blank reports whether the member belongs to no cluster.
func (m *Member) Blank() bool { return m.Cluster == protocol.UUID{} }

// Replica returns the member's replica of a group, as member.json has it.
func (m *Member) Replica(g protocol.GroupID) (Replica, bool) {
	for _, r := range m.Started {
		if r.Group == g {
			return r, true
		}
	}
	return Replica{}, false
}

// Runs reports whether a replica of a group is this member's.
func (m *Member) Runs(g protocol.GroupID, id protocol.ReplicaID) bool {
	r, ok := m.Replica(g)
	return ok && r.Replica == id
}

func (m *Member) clone() Member {
	c := *m
	c.Started = slices.Clone(m.Started)
	c.Peers = slices.Clone(m.Peers)
	return c
}

// NewUUID returns a random UUID of version 4.
func NewUUID() protocol.UUID {
	var u protocol.UUID
	_, _ = rand.Read(u[:]) // never fails: crypto/rand ends the process instead
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// Dir is an open data directory, or, in memory, stands in for one. Reading never waits
// for the disk: Member and Run may be called by any goroutine at any time, and return
// what was written last. Methods that change it are for one goroutine at a time.
type Dir struct {
	path  string // "": there is none, all is in memory
	lock  *os.File
	m     atomic.Pointer[Member] // as it is on disk; replaced, never changed in place
	nonce uint64                 // of Run

	// BeforeWrite, if not nil, is called before member.json is written, for tests with
	// a slow disk. Set it before several goroutines use the Dir.
	BeforeWrite func()
}

// Volatile returns the identity of a blank member that keeps nothing on disk: it is a
// new incarnation each time.
func Volatile(name string) (*Dir, error) {
	if err := checkSettingsFiles(); err != nil {
		return nil, err
	}
	d := &Dir{nonce: newNonce()}
	return d, d.reset(name)
}

// Open locks the directory at path and reads its member.json. If there is none it
// creates both, for a blank member of the given name. The error for a directory that
// cannot be used says what to do.
func Open(path, name string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := checkSettingsFiles(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s: %w: name another one, or let this user create it", path, err)
	}
	if err := checkOurs(path); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(path, lockName))
	if err != nil {
		return nil, lockProblem(path, err)
	}
	d := &Dir{path: path, lock: lock, nonce: newNonce()}
	if err := d.load(name); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	// Best effort: the directory may be a mount that belongs to somebody else.
	_ = os.Chmod(path, 0o700)
	return d, nil
}

func (d *Dir) load(name string) error {
	b, err := os.ReadFile(filepath.Join(d.path, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return d.reset(name)
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %w: make the file readable for this user", d.path, err)
	}
	m, err := decode(b)
	if err != nil {
		return fmt.Errorf("data directory %s: %s: %w", d.path, fileName, err)
	}
	m.Name = name
	m.Starts++
	if err := d.write(&m); err != nil {
		return err
	}
	return d.setAside() // completes what a crash has interrupted
}

// reset makes the directory that of a new, blank incarnation.
func (d *Dir) reset(name string) error {
	return d.write(&Member{Format: Format, Name: name, Incarnation: NewUUID(), Starts: 1})
}

// Forget makes the member a new, blank incarnation and removes its log. It is only for
// a member of a cluster that was never formed, or one in memory.
func (d *Dir) Forget() error {
	m := d.m.Load()
	if m.Formed && !d.Volatile() {
		return errors.New("the cluster is formed: its members are not forgotten")
	}
	// The new identity is written first. A log is found by its incarnation, so after a
	// crash between the two steps the old log is merely left over.
	old := d.raftDir()
	if err := d.reset(m.Name); err != nil {
		return err
	}
	if d.Volatile() {
		return nil
	}
	if err := os.RemoveAll(old); err != nil {
		return fmt.Errorf("remove the log of an unformed cluster: %w", err)
	}
	return nil
}

// Volatile reports whether there is no directory, so that nothing outlives the process.
func (d *Dir) Volatile() bool { return d.path == "" }

func (d *Dir) raftDir() string {
	return filepath.Join(d.path, raftName, d.m.Load().Incarnation.String())
}

// Member returns the content of member.json.
func (d *Dir) Member() Member { return d.m.Load().clone() }

// RaftDir returns the directory of the log and the snapshots, and creates it. It is ""
// if there is none.
func (d *Dir) RaftDir() (string, error) {
	if d.Volatile() {
		return "", nil
	}
	p := d.raftDir()
	if err := os.MkdirAll(p, 0o700); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return p, nil
}

// Update changes member.json. When it returns nil the change is on disk, if
// there is one.
func (d *Dir) Update(f func(*Member)) error {
	m := d.Member()
	f(&m)
	return d.write(&m)
}

// Close releases the directory.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}

// write makes m the content of member.json. Readers see it only after it is on disk, so
// everything that a member reports of itself survives its process.
func (d *Dir) write(m *Member) error {
	if !d.Volatile() {
		b, err := encode(m)
		if err != nil {
			return err
		}
		if d.BeforeWrite != nil {
			d.BeforeWrite()
		}
		if err := writeSynced(d.path, b); err != nil {
			return fmt.Errorf("write %s in %s: %w", fileName, d.path, err)
		}
	}
	d.m.Store(m)
	return nil
}

func writeSynced(dir string, b []byte) error {
	temp := filepath.Join(dir, tempName)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, fileName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// checkOurs refuses a directory that holds files but no member.json, so that a wrong
// path does not put a log among somebody's files. It also refuses a directory with
// backups in an older form, which this version would ignore.
func checkOurs(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("data directory %s: %w: name another one, or make it readable for this user", path, err)
	}
	ours, foreign := false, ""
	for _, e := range entries {
		switch e.Name() {
		case seedName:
			if e.IsDir() {
				return fmt.Errorf("data directory %s: the groups in %s were saved by an older version, which this one does not read: start the version that wrote them, or remove the folder", path, seedName)
			}
			foreign = e.Name()
		case fileName:
			ours = true
		case tempName, lockName, disk.BallastFile, "lost+found", BackupFolder, ReportFile:
		default:
			foreign = e.Name()
		}
	}
	if foreign != "" && !ours {
		return fmt.Errorf("data directory %s: not a member's: it holds %s and no %s: name an empty directory", path, foreign, fileName)
	}
	return nil
}

// checkSettingsFiles refuses to start if dragonboat would read settings from the
// working directory: they change its behaviour silently.
func checkSettingsFiles() error {
	found, err := filepath.Glob("dragonboat-*-settings.json")
	if err != nil || len(found) == 0 {
		return nil
	}
	return fmt.Errorf("the working directory holds %s, which would change the Raft engine unseen: remove it or start elsewhere", found[0])
}
