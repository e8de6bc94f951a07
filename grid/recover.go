package grid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// RecoverConfig says what to recover of a cluster that has lost the data of a majority.
type RecoverConfig struct {
	// DataDir is the data directory of a survivor. No process uses it, and Recover
	// changes nothing in it.
	DataDir string
	// To is the data directory to make. It does not exist, or is empty.
	To string
	// Groups are the data groups to recover for a cluster whose system group still has
	// its majority. Empty: the whole cluster, which is founded anew.
	Groups []uint64
	// Empty are data groups that begin empty, because the survivor's replica of them
	// cannot be read.
	Empty []uint64
	// Lost reads the log that the member had set aside as lost, damaged or old
	// (raft/*.lost) instead of the member's present log. It is verified first.
	Lost bool
	// Progress, if not nil, is called with each step.
	Progress func(what string)
	// Logger takes the engine's log. The default discards it.
	Logger *slog.Logger
}

// RecoverReport says what Recover has found and made.
type RecoverReport struct {
	Cluster     string           `json:"cluster"` // the lost one, or the one that lost a group
	ClusterName string           `json:"cluster_name"`
	Member      string           `json:"member"` // the survivor's name
	Incarnation string           `json:"incarnation"`
	LastWrite   time.Time        `json:"last_write"`       // to the survivor's log
	Lost        string           `json:"lost,omitempty"`   // the log that was read, if the member had set it aside as lost
	Unread      string           `json:"unread,omitempty"` // a log that is set aside and was not read
	Whole       bool             `json:"whole"`            // the cluster is to be founded anew
	Members     []string         `json:"members"`          // that the lost cluster had: name and address
	GracePeriod time.Duration    `json:"grace_period"`     // permits are granted again after it
	Groups      []RecoveredGroup `json:"groups"`
}

// RecoveredGroup is one group of a RecoverReport.
type RecoveredGroup struct {
	Group      uint64 `json:"group"` // 1: the system group
	Replica    uint64 `json:"replica"`
	Partitions int    `json:"partitions"`
	Empty      string `json:"empty,omitempty"` // why it begins empty
	Snapshot   uint64 `json:"snapshot"`        // log index that the survivor's snapshot reaches
	Commit     uint64 `json:"commit"`          // up to which it knew entries to be committed
	Last       uint64 `json:"last"`            // of its log: up to which it is recovered
	Term       uint64 `json:"term"`
	Tail       int    `json:"tail"`                 // entries beyond Commit, taken in
	Unreadable uint64 `json:"unreadable,omitempty"` // the first entry that no replica can apply
	Left       int    `json:"left,omitempty"`       // how many are left out: it and those after it
	Reason     string `json:"reason,omitempty"`     // why it cannot be applied
	Sessions   int    `json:"sessions"`
	// What the group's backup holds, as read from it again.
	Structures uint64 `json:"structures"`
	Rows       uint64 `json:"rows"`
	Frames     uint64 `json:"frames"`
	Bytes      uint64 `json:"bytes"` // of the file
}

// workFolder holds the copy of the survivor's log that is opened. It is removed
// at the end.
const workFolder = "work"

// Recover makes a new data directory from that of a surviving member, for a cluster or
// groups that have lost the data of a majority. It needs free disk space for a copy of
// the survivor's log and for the backups of its groups, which it verifies after writing
// them.
func Recover(ctx context.Context, cfg RecoverConfig) (*RecoverReport, error) {
	r := &recovery{cfg: cfg}
	if r.cfg.Progress == nil {
		r.cfg.Progress = func(string) {}
	}
	report, err := r.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("recover from %s: %w", cfg.DataDir, err)
	}
	return report, nil
}

type recovery struct {
	cfg     RecoverConfig
	from    *identity.Inspection
	extract *extract.Extractor
	report  RecoverReport
	backups string
}

func (r *recovery) run(ctx context.Context) (_ *RecoverReport, err error) {
	from, err := identity.Inspect(r.cfg.DataDir)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	r.from = from
	m := &from.Member
	if m.Blank() || !m.Formed {
		return nil, errors.New("the member belongs to no cluster that was formed: it has nothing to recover")
	}
	if err := r.chooseLog(); err != nil {
		return nil, err
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil { // so that it can be tried again
			err = errors.Join(err, os.RemoveAll(r.backups))
		}
	}()
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Join(r.cfg.To, workFolder))) }()
	work := filepath.Join(r.cfg.To, workFolder)
	if err := r.copyLog(ctx, work); err != nil {
		return nil, err
	}
	if r.cfg.Lost {
		if err := r.findReplicas(ctx, work); err != nil {
			return nil, err
		}
	}
	r.extract, err = extract.Open(extract.Config{
		Dir: work, Cluster: m.Cluster, Name: m.ClusterName, Incarnation: m.Incarnation, Kinds: kinds.All(), Logger: r.cfg.Logger,
		Progress: func(g protocol.GroupID, index, last uint64) {
			r.cfg.Progress(fmt.Sprintf("group %d: entry %d of %d", g, index, last))
		},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.extract.Close()) }()
	if err := r.recoverGroups(ctx); err != nil {
		return nil, err
	}
	text := r.report.Text()
	if err := os.WriteFile(filepath.Join(r.cfg.To, identity.ReportFile), []byte(text), 0o600); err != nil {
		return nil, err
	}
	return &r.report, nil
}

// chooseLog decides which log of the directory is read.
func (r *recovery) chooseLog() error {
	if r.cfg.Lost {
		r.report.Lost = r.from.Aside
		return r.from.TakeAside()
	}
	r.report.Unread = r.from.Aside
	if len(r.from.Member.Started) == 0 && r.from.Aside != "" {
		return fmt.Errorf("the member has rejoined without its data and has no replica: what it had before is in %s: read that (--lost)", r.from.Aside)
	}
	return nil
}

// findReplicas verifies a log that was set aside, and finds what it holds.
func (r *recovery) findReplicas(ctx context.Context, work string) error {
	r.cfg.Progress("verifying what was set aside")
	log := cmp.Or(r.cfg.Logger, slog.New(slog.DiscardHandler))
	stored, err := extract.Inspect(ctx, work, log, func(protocol.GroupID, protocol.ReplicaID) bool { return true })
	if err != nil {
		return fmt.Errorf("what was set aside cannot be read: %w", err)
	}
	for _, s := range stored {
		r.from.Member.Started = append(r.from.Member.Started, identity.Replica{Group: s.Group, Replica: s.Replica, Started: true})
	}
	return nil
}

// prepare checks that there is enough free space, and makes the new directory.
func (r *recovery) prepare() error {
	to, err := filepath.Abs(r.cfg.To)
	if err != nil {
		return err
	}
	from, err := filepath.Abs(r.cfg.DataDir)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(from, to); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("%s lies in the survivor's directory, which is not to be changed: name another place", to)
	}
	entries, err := os.ReadDir(to)
	if err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: name a directory that is, or that does not exist", to)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.backups = filepath.Join(to, identity.BackupFolder)
	if err := os.MkdirAll(r.backups, 0o700); err != nil {
		return err
	}
	size, last, err := sizeOf(r.from.RaftDir)
	if err != nil {
		return fmt.Errorf("the survivor's log: %w", err)
	}
	r.report.LastWrite = last
	need := 3 * size
	free, known := identity.FreeBytes(to)
	r.cfg.Progress(fmt.Sprintf("the survivor's log has %s; up to %s of free disk are needed", megabytes(size), megabytes(need)))
	if known && free < need {
		return fmt.Errorf("%s has %s of free disk: up to %s are needed for a copy of the log and the backups", to, megabytes(free), megabytes(need))
	}
	return nil
}

func megabytes(n uint64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// sizeOf returns the bytes of the files below a directory, and when the last of
// them was written.
func sizeOf(dir string) (size uint64, last time.Time, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size += uint64(info.Size())
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
		return nil
	})
	return size, last, err
}

// copyLog copies the survivor's log, because opening a log writes to it.
func (r *recovery) copyLog(ctx context.Context, work string) error {
	told := time.Now()
	copied := uint64(0)
	return filepath.WalkDir(r.from.RaftDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(r.from.RaftDir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(work, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		if err := contexts.Err(ctx); err != nil {
			return err
		}
		n, err := copyFile(to, path)
		copied += uint64(n)
		if time.Since(told) > time.Second {
			told = time.Now()
			r.cfg.Progress("copied " + megabytes(copied))
		}
		return err
	})
}

func copyFile(to, from string) (int64, error) {
	src, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(dst, src)
	return n, errors.Join(err, dst.Close())
}

func (r *recovery) recoverGroups(ctx context.Context) error {
	m := &r.from.Member
	r.report.Cluster, r.report.ClusterName = m.Cluster.String(), m.ClusterName
	r.report.Member, r.report.Incarnation, r.report.Whole = m.Name, m.Incarnation.String(), len(r.cfg.Groups) == 0
	system, err := r.read(protocol.SystemGroup)
	if err != nil {
		return fmt.Errorf("%w: the system group is needed: try another survivor", err)
	}
	v := system.ClusterState()
	for _, o := range v.Members {
		r.report.Members = append(r.report.Members, o.Name+" at "+o.Address)
	}
	saved := system.SavedCluster(func(protocol.GroupID) bool { return true })
	if len(saved.Groups) > 0 {
		r.report.GracePeriod = saved.Groups[0].GracePeriod
	}
	if r.report.Whole {
		if err := r.write(system, 0); err != nil {
			return err
		}
	}
	for _, id := range append(slices.Clone(r.cfg.Groups), r.cfg.Empty...) {
		if _, ok := v.Group(protocol.GroupID(id)); !ok || id == uint64(protocol.SystemGroup) {
			return fmt.Errorf("the cluster has no data group %d", id)
		}
	}
	for _, g := range v.Groups {
		if g.ID == protocol.SystemGroup || !r.report.Whole && !slices.Contains(r.cfg.Groups, uint64(g.ID)) {
			continue
		}
		if err := contexts.Err(ctx); err != nil {
			return err
		}
		if err := r.recoverGroup(v, g.ID); err != nil {
			return err
		}
	}
	return nil
}

func (r *recovery) recoverGroup(v *systemstate.ClusterState, id protocol.GroupID) error {
	partitions := 0
	for _, g := range v.Partitions {
		if g == id {
			partitions++
		}
	}
	_, has := r.from.Member.Replica(id)
	why := ""
	switch {
	case slices.Contains(r.cfg.Empty, uint64(id)):
		why = "as asked for"
	case !has && r.report.Whole:
		why = "the survivor has no replica of it"
	case !has:
		return fmt.Errorf("the survivor has no replica of group %d: try another", id)
	}
	if why != "" {
		r.report.Groups = append(r.report.Groups, RecoveredGroup{Group: uint64(id), Partitions: partitions, Empty: why})
		return nil
	}
	s, err := r.read(id)
	if err != nil {
		return fmt.Errorf("%w: try another survivor, or let the group begin empty (--empty %d)", err, id)
	}
	return r.write(s, partitions)
}

func (r *recovery) read(id protocol.GroupID) (*extract.Replica, error) {
	listed, ok := r.from.Member.Replica(id)
	if !ok || !listed.Started {
		return nil, fmt.Errorf("the survivor has no replica of group %d", id)
	}
	r.cfg.Progress(fmt.Sprintf("group %d: reading replica %d", id, listed.Replica))
	s, err := r.extract.Read(id, listed.Replica, listed.NonVoting)
	if err != nil && r.cfg.Lost { // whether it had a vote is not known
		if copied, again := r.extract.Read(id, listed.Replica, true); again == nil {
			return copied, nil
		}
	}
	return s, err
}

// write writes the backup of a group, and reads it again.
func (r *recovery) write(s *extract.Replica, partitions int) error {
	r.cfg.Progress(fmt.Sprintf("group %d: writing its backup", s.Group))
	wrote, err := r.extract.WriteBackup(r.backups, s)
	if err != nil {
		return err
	}
	r.cfg.Progress(fmt.Sprintf("group %d: verifying its backup", s.Group))
	counts, size, err := verifyBackup(r.backups, s.Group)
	if err == nil && counts != wrote {
		err = fmt.Errorf("%+v was written, and %+v is there", wrote, counts)
	}
	if err != nil {
		return fmt.Errorf("the backup of group %d is not what was written, which its disk may be the reason of: %w", s.Group, err)
	}
	r.report.Groups = append(r.report.Groups, RecoveredGroup{
		Group: uint64(s.Group), Replica: uint64(s.Replica), Partitions: partitions,
		Snapshot: s.Snapshot, Commit: s.Commit, Last: s.Last, Term: s.Term, Tail: s.Tail, Sessions: len(s.Sessions),
		Unreadable: s.Unreadable, Left: s.Left, Reason: s.Reason,
		Structures: counts.Structures, Rows: counts.Rows, Frames: counts.Frames, Bytes: size,
	})
	return nil
}

// verifyBackup reads the backup of a group to its end, and returns what it holds and
// its size.
func verifyBackup(dir string, g protocol.GroupID) (counts archive.Counts, size uint64, err error) {
	b, err := extract.OpenBackup(dir, g)
	if err != nil {
		return counts, 0, err
	}
	defer b.Close()
	if counts, err = b.Verify(kinds.All()); err != nil {
		return counts, 0, err
	}
	size, err = b.Size()
	return counts, size, err
}

// Text returns the report, human-readable.
func (r *RecoverReport) Text() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Recovered from one survivor")
	p("")
	p("cluster      %s (%s)", r.ClusterName, r.Cluster)
	p("survivor     %s (incarnation %s)", r.Member, r.Incarnation)
	if r.Lost != "" {
		p("read from    %s, which the member had set aside as lost, damaged or old", r.Lost)
	}
	if r.Unread != "" {
		p("not read     %s, which the member had set aside as lost, damaged or old: --lost reads it", r.Unread)
	}
	p("last write   %s, by its log files", r.LastWrite.UTC().Format(time.RFC3339))
	p("members      %s", strings.Join(r.Members, ", "))
	p("")
	p("Groups")
	for _, g := range r.Groups {
		if g.Empty != "" {
			p("  group %d: %d partitions begin EMPTY: %s", g.Group, g.Partitions, g.Empty)
			continue
		}
		what := fmt.Sprintf("%d partitions, %d structures, %d rows", g.Partitions, g.Structures, g.Rows)
		if g.Group == uint64(protocol.SystemGroup) {
			what = "the system group"
		}
		p("  group %d: %s", g.Group, what)
		p("    replica %d, read up to log index %d of term %d (its snapshot reaches %d)", g.Replica, g.Last, g.Term, g.Snapshot)
		p("    known to be committed up to %d; entries beyond that, taken in: %d", g.Commit, g.Tail)
		if g.Unreadable != 0 {
			p("    ENTRY %d CANNOT BE APPLIED, by no replica: %s", g.Unreadable, g.Reason)
			p("    it and what follows it, %d entries, are left out; none of them was acknowledged", g.Left)
		}
		p("    sessions ended: %d; backup: %s, %d bytes in %d frames, verified", g.Sessions, extract.BackupName(protocol.GroupID(g.Group)), g.Bytes, g.Frames)
	}
	p("")
	p("What may be missing, and what may be there too many")
	p("  - Writes that the lost members had acknowledged among themselves and that had not reached the survivor. A member that")
	p("    was connected lags by less than a second; one that was down or cut off lacks all since then. Compare the last write above")
	p("    with the time of the loss.")
	p("  - Entries beyond what the survivor knew to be committed are taken in, since an acknowledged write may be among them. Their")
	p("    callers were told that the outcome is unknown, or were told that all is well.")
	p("  - All sessions are ended: permits that were held are free again, calls that waited are withdrawn, elements that were reserved")
	p("    for a Take are back in their queues. Semaphores hand out nothing for %v after the start, until every former holder", r.GracePeriod)
	p("    must have noticed. Fencing tokens go on above the old ones.")
	p("  - A call whose answer was lost with the members is not known any more: repeating it may carry it out twice.")
	p("")
	p("How to go on")
	if r.Whole {
		p("  1. Make sure that no member of the lost cluster runs any more, and keep the survivor's directory as it is.")
		p("  2. quorate start --data-dir THIS-DIRECTORY with the survivor's --name and addresses, and without --bootstrap-expect.")
		p("     It founds a new cluster of the same name and settings, and is ready once its groups are restored.")
		p("  3. Start the other members with EMPTY data directories and --join. They get their replicas by themselves.")
		p("     A member that still has a directory of the lost cluster is refused.")
	} else {
		p("  1. Start a member of the cluster with this: move the folder backup/ into the data directory of a member that is stopped, or")
		p("     quorate start --data-dir THIS-DIRECTORY --join ADDRESSES as a new member.")
		p("  2. Where the group has no leader and its majority is gone or silent, the cluster gives its partitions to a new group that")
		p("     is restored from the backup. The other members get their replicas of it by themselves.")
	}
	return b.String()
}
