package extract

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
)

const backupSuffix = ".archive"

// BackupName is the name of the file that holds the backup of a group.
func BackupName(g protocol.GroupID) string {
	if g == protocol.SystemGroup {
		return "system" + backupSuffix
	}
	return fmt.Sprintf("group-%d%s", g, backupSuffix)
}

// Backup is the open backup of a group: an archive in a file. Close it.
type Backup struct {
	Header archive.Header
	f      *os.File
}

// OpenBackup opens the backup of a group and reads its header; [Backup.Verify] reads
// all of it. The error is fs.ErrNotExist if there is none, and one of package archive
// if the file is not a backup, damaged or incomplete.
func OpenBackup(dir string, g protocol.GroupID) (*Backup, error) {
	f, err := os.Open(filepath.Join(dir, BackupName(g)))
	if err != nil {
		return nil, err
	}
	b := &Backup{f: f}
	err = b.read(headerOnly{&b.Header})
	if errors.Is(err, errHeaderRead) {
		err = nil
	}
	if err == nil && b.Header.Group != g {
		err = fmt.Errorf("it is the backup of group %d: give it that group's name", b.Header.Group)
	}
	if err != nil {
		return nil, errors.Join(b.Wrap(err), f.Close())
	}
	return b, nil
}

// Close closes the file.
func (b *Backup) Close() error { return b.f.Close() }

// Size returns the bytes of the file.
func (b *Backup) Size() (uint64, error) {
	st, err := b.f.Stat()
	if err != nil {
		return 0, err
	}
	return uint64(st.Size()), nil
}

// Wrap adds the file to an error; nil stays nil.
func (b *Backup) Wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", b.f.Name(), err)
}

func (b *Backup) reader() io.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(b.f, 0, 1<<62), 256<<10)
}

func (b *Backup) read(v archive.Visitor) error {
	_, err := archive.Read(b.reader(), v)
	return err
}

// headerOnly is a Visitor that reads the header and ends.
type headerOnly struct{ h *archive.Header }

var errHeaderRead = errors.New("the header has been read")

func (v headerOnly) Header(h archive.Header) error {
	*v.h = h
	return errHeaderRead
}

func (headerOnly) Section(archive.Section) error     { return nil }
func (headerOnly) Structure(archive.Structure) error { return nil }
func (headerOnly) Row(archive.Row) error             { return nil }
func (headerOnly) Value([]byte) error                { return nil }
func (headerOnly) State([]byte) error                { return nil }

// Verify reads a backup to its end and returns what it holds. If it returns no error
// the archive is whole, its structures are of kinds that are there, and each row
// belongs to a structure and lies in the partition of its key.
func (b *Backup) Verify(kinds []structures.Kind) (archive.Counts, error) {
	v := &verifier{kinds: map[protocol.KindID]*structures.Kind{}}
	for i := range kinds {
		v.kinds[kinds[i].ID] = &kinds[i]
	}
	counts, err := archive.Read(b.reader(), v)
	if err == nil && b.Header.Group == protocol.SystemGroup {
		err = systemstate.New().Restore(&v.state)
	}
	return counts, b.Wrap(err)
}

// State returns the state in a backup of the system group, of which it reads and
// checks all.
func (b *Backup) State() (*systemstate.State, error) {
	v := &verifier{}
	if err := b.read(v); err != nil {
		return nil, b.Wrap(err)
	}
	s := systemstate.New()
	return s, b.Wrap(s.Restore(&v.state))
}

// verifier is the archive.Visitor that looks at the meaning of an archive.
type verifier struct {
	kinds      map[protocol.KindID]*structures.Kind
	header     archive.Header
	partition  protocol.PartitionID
	structures map[uint64]structure // of the partition
	state      bytes.Buffer         // of the system group
}

type structure struct {
	name string
	kind *structures.Kind
}

func (v *verifier) Header(h archive.Header) error {
	v.header = h
	return nil
}

func (v *verifier) Section(s archive.Section) error {
	v.partition, v.structures = s.Partition, map[uint64]structure{}
	return nil
}

func (v *verifier) Structure(s archive.Structure) error {
	k := v.kinds[s.Kind]
	if k == nil {
		return fmt.Errorf("%q is a structure of kind %d, which this version does not know: use a later one", s.Name, s.Kind)
	}
	v.structures[s.Instance] = structure{strings.Clone(s.Name), k}
	if at := v.of(s.Name, nil); !k.Keyed && at != v.partition {
		return misplaced(k, s.Name, at, v.partition)
	}
	return nil
}

func (v *verifier) Row(r archive.Row) error {
	s, ok := v.structures[r.Instance]
	if !ok {
		return fmt.Errorf("%w (a row of no structure)", archive.ErrDamaged)
	}
	// What a keyed structure keeps beside its entries is under keys that no entry can
	// have: they begin with 0.
	if !s.kind.Keyed || len(r.Key) == 0 || r.Key[0] == 0 {
		return nil
	}
	if at := v.of(s.name, r.Key); at != v.partition {
		return misplaced(s.kind, s.name, at, v.partition)
	}
	return nil
}

func (v *verifier) of(name string, key []byte) protocol.PartitionID {
	return partition.Of(int(v.header.Partitions), name, key)
}

func misplaced(k *structures.Kind, name string, of, in protocol.PartitionID) error {
	return fmt.Errorf("%w (a row of %s %q belongs to partition %d and lies in %d)", archive.ErrDamaged, k.Name, name, of, in)
}

func (v *verifier) Value([]byte) error { return nil }

func (v *verifier) State(b []byte) error {
	_, err := v.state.Write(b)
	return err
}

// writeBackup writes the backup of a group, durably.
func writeBackup(dir string, h archive.Header, fill func(w io.Writer) error) error {
	f, err := os.OpenFile(filepath.Join(dir, BackupName(h.Group)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Backups returns the headers of the backups in a directory; one that cannot be read
// is an error that names it, beside the others.
func Backups(dir string) ([]archive.Header, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var headers []archive.Header
	var errs []error
	for _, e := range entries {
		g, ok := backupGroup(e.Name())
		if !ok {
			continue
		}
		b, err := OpenBackup(dir, g)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		headers = append(headers, b.Header)
		_ = b.Close()
	}
	return headers, errors.Join(errs...)
}

// backupGroup returns the group whose backup has that name.
func backupGroup(name string) (protocol.GroupID, bool) {
	if name == BackupName(protocol.SystemGroup) {
		return protocol.SystemGroup, true
	}
	var g protocol.GroupID
	_, err := fmt.Sscanf(name, "group-%d"+backupSuffix, &g)
	return g, err == nil && name == BackupName(g)
}
