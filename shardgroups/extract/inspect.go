package extract

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/sstable"
	"github.com/cockroachdb/pebble/vfs"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
	"github.com/quorate/quorate/shardgroups/raftnet"
)

// DamagedError is the error of a log or a snapshot that does not hold what was written.
// Its replicas must not run again, because they may have forgotten votes and entries
// that they had acknowledged.
type DamagedError struct {
	Path string // what is damaged
	Err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.Path, e.Err) }

func (e *DamagedError) Unwrap() error { return e.Err }

// inspectReport is how often a long inspection logs its progress.
const inspectReport = 5 * time.Second

// Inspect reads everything that the engine has stored in dir, and verifies the
// checksums, before the engine opens: if dragonboat meets damage it ends the process,
// or continues with less than was there. Inspect changes nothing. It returns what each
// replica has. A *DamagedError says that something is not as it was written. What is
// missing without a trace (the end of the newest write-ahead log, a whole directory)
// only other members can know: see [raftnet.ObservedProgress].
//
// need says which replicas matter: one that is no longer needed may be half removed.
//
// It relies on three formats of dragonboat's pinned version: its keys in Pebble,
// its flag files and its snapshot files.
func Inspect(ctx context.Context, dir string, log *slog.Logger, need func(protocol.GroupID, protocol.ReplicaID) bool) (stored []raftnet.Stored, err error) {
	in := &inspection{ctx: ctx, log: log, need: need, last: time.Now()}
	defer func() {
		if e := recover(); e != nil {
			stored, err = nil, &DamagedError{in.at, errors.New(engine.PanicReason(e))}
		}
	}()
	logs, err := filepath.Glob(filepath.Join(dir, "*", "*", "logdb-0"))
	if err != nil {
		return nil, err
	}
	for _, flag := range []string{engine.FlagFile, "NODEHOST.ID"} {
		if err := in.flagFile(filepath.Join(dir, flag)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	switch len(logs) {
	case 0:
		return nil, nil
	case 1:
		stored, err = in.log0(logs[0])
	default:
		return nil, fmt.Errorf("%s holds the logs of several hosts: %q: move all but one away", dir, logs)
	}
	if err != nil {
		return nil, in.classify(err)
	}
	return stored, nil
}

type inspection struct {
	ctx  context.Context
	log  *slog.Logger
	need func(protocol.GroupID, protocol.ReplicaID) bool
	at   string // what is being read
	read int64  // bytes, about
	last time.Time
}

// classify distinguishes damage from what the operating system does not permit.
func (in *inspection) classify(err error) error {
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged), in.ctx.Err() != nil:
		return err
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
		errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EIO):
		return fmt.Errorf("read %s: %w", in.at, err)
	}
	return &DamagedError{in.at, err}
}

// progress counts bytes read, logs the progress from time to time, and returns an error
// when the context ends.
func (in *inspection) progress(n int64) error {
	in.read += n
	if time.Since(in.last) > inspectReport {
		in.last = time.Now()
		in.log.Info("verifying the data on disk", "reading", in.at, "megabytes", in.read>>20)
	}
	return in.ctx.Err()
}

// flagFile checks one of dragonboat's small files: eight bytes of an MD5, and
// content.
func (in *inspection) flagFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(b) < 8 {
		return &DamagedError{path, errors.New("it is too short")}
	}
	if sum := md5.Sum(b[8:]); string(sum[8:]) != string(b[:8]) {
		return &DamagedError{path, errors.New("its checksum does not fit its content")}
	}
	return nil
}

// log0 reads the log store and the snapshots beside it.
func (in *inspection) log0(path string) ([]raftnet.Stored, error) {
	in.at = path
	if err := in.manifest(path); err != nil {
		return nil, err
	}
	db, err := pebble.Open(path, &pebble.Options{
		ReadOnly: true, ErrorIfNotExists: true, Logger: quiet{}, MemTableSize: 64 << 20,
	})
	if err != nil {
		return nil, err
	}
	stored, err := in.replicas(db, path)
	return stored, errors.Join(err, db.Close())
}

// quiet is a logger for Pebble, which logs at every start.
type quiet struct{}

func (quiet) Infof(string, ...any) {}

func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// manifest finds damage that Pebble takes for the end of its manifest: every
// record of it is synced before the next is written, so whole records behind
// a broken one mean that the broken one was whole.
func (in *inspection) manifest(path string) error {
	d, err := pebble.Peek(path, vfs.Default)
	if err != nil {
		return err
	}
	if !d.Exists {
		return errors.New("it has no manifest")
	}
	b, err := os.ReadFile(d.ManifestFilename)
	if err != nil {
		return err
	}
	if at, bad := brokenRecord(b); bad {
		return &DamagedError{d.ManifestFilename, fmt.Errorf("the record at byte %d is broken, and later ones are whole", at)}
	}
	return in.progress(int64(len(b)))
}

// tables reads every block of every table.
func (in *inspection) tables(db *pebble.DB, path string) error {
	levels, err := db.SSTables()
	if err != nil {
		return err
	}
	for _, level := range levels {
		for _, t := range level {
			in.at = filepath.Join(path, fmt.Sprintf("%06d.sst", uint64(t.FileNum)))
			if err := verifyTable(in.at); err != nil {
				return err
			}
			if err := in.progress(int64(t.Size)); err != nil {
				return err
			}
		}
	}
	return nil
}

func verifyTable(path string) error {
	f, err := vfs.Default.Open(path)
	if err != nil {
		return err
	}
	r, err := sstable.NewReader(f, sstable.ReaderOptions{})
	if err != nil {
		return err // it has closed f
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// The keys of dragonboat's log store: what a record is, two zero bytes, shard,
// replica, and for entries and snapshots an index, all big-endian.
const (
	keyEntry     = 1
	keyState     = 2
	keyMaxIndex  = 3
	keySnapshot  = 5
	keyBootstrap = 6
)

func storeKey(kind byte, shard, replica uint64, index ...uint64) []byte {
	k := binary.BigEndian.AppendUint64([]byte{kind, kind, 0, 0}, shard)
	k = binary.BigEndian.AppendUint64(k, replica)
	for _, i := range index {
		k = binary.BigEndian.AppendUint64(k, i)
	}
	return k
}

func (in *inspection) replicas(db *pebble.DB, path string) ([]raftnet.Stored, error) {
	if err := in.tables(db, path); err != nil {
		return nil, err
	}
	in.at = path
	var found []raftnet.Stored
	err := scan(db, []byte{keyBootstrap, keyBootstrap}, []byte{keyBootstrap, keyBootstrap + 1}, func(key, value []byte) error {
		if len(key) != 20 {
			return fmt.Errorf("a bootstrap record has a key of %d bytes", len(key))
		}
		s := raftnet.Stored{
			Group:   protocol.GroupID(binary.BigEndian.Uint64(key[4:])),
			Replica: protocol.ReplicaID(binary.BigEndian.Uint64(key[12:])),
		}
		if in.need(s.Group, s.Replica) {
			found = append(found, s)
		}
		var b raftpb.Bootstrap
		return b.Unmarshal(value)
	})
	if err != nil {
		return nil, err
	}
	for i := range found {
		s := &found[i]
		in.at = path
		if err := in.replica(db, path, s); err != nil {
			var damaged *DamagedError
			if !errors.As(err, &damaged) {
				err = fmt.Errorf("group %d: %w", s.Group, err)
			}
			return nil, err
		}
	}
	return found, nil
}

// replica reads the records of one replica: its state, its snapshot, and its
// entries from the snapshot on without a gap.
func (in *inspection) replica(db *pebble.DB, path string, s *raftnet.Stored) error {
	shard, replica := uint64(s.Group), uint64(s.Replica)
	var state raftpb.State
	if err := get(db, storeKey(keyState, shard, replica), state.Unmarshal); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	s.Term, s.Vote, s.Commit = state.Term, protocol.ReplicaID(state.Vote), state.Commit
	var snapshot raftpb.Snapshot
	err := scan(db, storeKey(keySnapshot, shard, replica, 0), storeKey(keySnapshot, shard, replica+1, 0), func(_, value []byte) error {
		snapshot = raftpb.Snapshot{}
		return snapshot.Unmarshal(value)
	})
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	s.Snapshot = snapshot.Index
	err = get(db, storeKey(keyMaxIndex, shard, replica), func(b []byte) error {
		if len(b) != 8 {
			return fmt.Errorf("%d bytes", len(b))
		}
		s.Last = binary.BigEndian.Uint64(b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("last index: %w", err)
	}
	if err := in.entries(db, s); err != nil {
		return err
	}
	s.Last = max(s.Last, s.Snapshot)
	switch {
	case s.Commit > s.Last:
		return fmt.Errorf("entry %d was committed, and the last is %d", s.Commit, s.Last)
	case s.Snapshot == 0:
		return nil
	}
	dir := filepath.Join(filepath.Dir(path), fmt.Sprintf("snapshot-part-%d", shard%snapshotParts), fmt.Sprintf("snapshot-%d-%d", shard, replica))
	return in.snapshot(dir, s.Snapshot)
}

// snapshotParts is dragonboat's number of folders over which snapshots are
// spread.
const snapshotParts = 512

// entries reads the entries of a replica up to s.Last.
func (in *inspection) entries(db *pebble.DB, s *raftnet.Stored) error {
	shard, replica := uint64(s.Group), uint64(s.Replica)
	next, term := uint64(0), uint64(0)
	err := scan(db, storeKey(keyEntry, shard, replica, 0), storeKey(keyEntry, shard, replica, s.Last+1), func(key, value []byte) error {
		index := binary.BigEndian.Uint64(key[20:])
		var e raftpb.Entry
		if err := e.Unmarshal(value); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		switch {
		case e.Index != index:
			return fmt.Errorf("entry %d says that it is %d", index, e.Index)
		case next != 0 && index != next && index > s.Snapshot+1:
			return fmt.Errorf("entries %d to %d are missing", next, index-1)
		case e.Term < term || e.Term > s.Term:
			return fmt.Errorf("entry %d is of term %d, between terms %d and %d", index, e.Term, term, s.Term)
		case next == 0 && index > s.Snapshot+1:
			return fmt.Errorf("entries %d to %d are missing", s.Snapshot+1, index-1)
		}
		next, term = index+1, e.Term
		return in.progress(int64(len(value)))
	})
	if err != nil {
		return err
	}
	if s.Last > s.Snapshot && next != s.Last+1 {
		return fmt.Errorf("entries %d to %d are missing", max(next, s.Snapshot+1), s.Last)
	}
	return nil
}

// get reads one record; none is nothing.
func get(db *pebble.DB, key []byte, read func([]byte) error) error {
	b, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(read(b), closer.Close())
}

// scan reads the records from one key up to another.
func scan(db *pebble.DB, from, to []byte, read func(key, value []byte) error) error {
	it := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	for it.First(); it.Valid(); it.Next() {
		if err := read(it.Key(), it.Value()); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}
