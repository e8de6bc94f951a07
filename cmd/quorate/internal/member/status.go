package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
)

type StatusCommand struct {
	cli.Connection
	Watch    bool `help:"Print it again every two seconds, until a signal."`
	WaitFull bool `help:"Wait, at most --timeout, until every member answers and every group has all its replicas, caught up: until one more member may be stopped."`
	Hash     bool `help:"Ask every replica for the hash of its state, and compare."`
}

// Help is the long help of the command.
func (StatusCommand) Help() string {
	return `Asks every member it can reach and merges what they say. It needs no quorum, says who did not answer and which groups have no leader, and works before the grid is formed.

  quorate status
  quorate status --endpoints 10.0.0.1:7170,10.0.0.2:7170 -o json
  quorate status --wait-full --timeout 5m      between two restarts`
}

// Run runs the command.
func (cmd *StatusCommand) Run(ctx context.Context, a *cli.App) error {
	if cmd.WaitFull {
		if err := cmd.waitFull(ctx, a); err != nil {
			return err
		}
	}
	if cmd.Watch {
		return cmd.watch(ctx, a)
	}
	return cmd.once(ctx, a)
}

func (cmd *StatusCommand) once(ctx context.Context, a *cli.App) error {
	answers := cli.AskAll(ctx, cmd.Endpoints, min(cmd.Timeout, 3*time.Second))
	v := MergeStatus(answers)
	if !slices.ContainsFunc(answers, func(a cli.Answer) bool { return a.Err == nil }) {
		return cli.Nobody(answers)
	}
	if cmd.Cluster != "" && cmd.Cluster != v.Cluster && cmd.Cluster != v.ClusterID {
		return &cli.ExitError{Code: cli.ExitUnavailable, Err: fmt.Errorf("these are members of the cluster %q (%s), not of %q", v.Cluster, v.ClusterID, cmd.Cluster)}
	}
	var differ error
	if cmd.Hash {
		differ = v.hash(ctx, cmd.Timeout)
	}
	if a.JSON {
		return errors.Join(cli.JsonEncoder(a.Stdout).Encode(v), differ)
	}
	_, err := fmt.Fprint(a.Stdout, v.table())
	return errors.Join(err, differ)
}

// waitFull waits until nothing is missing.
func (cmd *StatusCommand) waitFull(ctx context.Context, a *cli.App) error {
	ctx, cancel := context.WithTimeout(ctx, cmd.Timeout)
	defer cancel()
	said := ""
	for {
		lines := MergeStatus(cli.AskAll(ctx, cmd.Endpoints, 3*time.Second)).Warnings()
		if len(lines) == 0 {
			return nil
		}
		if lines[0] != said {
			said = lines[0]
			a.Note("quorate: waiting: %s", said)
		}
		if contexts.Sleep(ctx, 200*time.Millisecond) != nil {
			return cli.No(fmt.Errorf("not fully replicated within %s: %s", cmd.Timeout, strings.Join(lines, "; ")))
		}
	}
}

// statusView is what all members that answered say together.
type statusView struct {
	Cluster    string         `json:"cluster"`
	ClusterID  string         `json:"cluster_id"`
	Formed     bool           `json:"formed"`
	Durability string         `json:"durability"`
	Epoch      uint64         `json:"epoch"`
	Partitions int            `json:"partitions"`
	Members    []memberStatus `json:"members"`
	Groups     []groupStatus  `json:"groups"`

	names map[uint64]string // of members, by id
}

type memberStatus struct {
	ID          uint64 `json:"id,omitempty"`
	Name        string `json:"name"`
	Address     string `json:"address"`
	Incarnation string `json:"incarnation,omitempty"`
	State       string `json:"state"`
	Version     string `json:"version,omitempty"`
	Detail      string `json:"detail,omitempty"` // what it waits for, or why it did not answer
	// Memory is nil of a member that did not answer.
	Memory *protocol.StatusMemory `json:"memory,omitempty"`
	Disk   *protocol.StatusDisk   `json:"disk,omitempty"` // nil also in memory
	// Watches is how many the member serves; nil of one that did not answer.
	Watches *int `json:"watches,omitempty"`
}

type groupStatus struct {
	ID         uint64                `json:"id"`
	Leader     string                `json:"leader"` // empty: none
	Term       uint64                `json:"term"`
	Applied    uint64                `json:"applied"`
	Partitions int                   `json:"partitions"`
	Missing    int                   `json:"missing"`               // replicas that it lacks to be fully replicated
	Bytes      uint64                `json:"bytes"`                 // of keys, values, kept replies and history
	NoHeadroom string                `json:"no_headroom,omitempty"` // who lacks the memory for a missing one
	Refuses    string                `json:"refuses,omitempty"`     // why writes are refused
	Sizes      []protocol.StatusSize `json:"sizes"`                 // by partition
	Generation uint64                `json:"generation"`            // rises when data of it was lost; in memory it begins with the time
	Lost       string                `json:"lost,omitempty"`        // its majority's data is lost, and the way out
	Replicas   []replicaStatus       `json:"replicas"`
}

type replicaStatus struct {
	Member  string `json:"member"`
	State   string `json:"state"`
	Applied uint64 `json:"applied,omitempty"`
	Hash    string `json:"hash,omitempty"` // with --hash

	member uint64
}

// stateUnreachable is the state of a member, and of its replicas, that did not
// answer.
const stateUnreachable = "unreachable"

// MergeStatus merges the answers: of two views of the table the one with the
// larger epoch counts, of two views of a group the one with the larger term.
func MergeStatus(answers []cli.Answer) *statusView {
	v := &statusView{names: map[uint64]string{}, Members: []memberStatus{}, Groups: []groupStatus{}}
	var newest *protocol.Status
	answered := map[string]*cli.Answer{} // by address
	for i, a := range answers {
		if a.Err != nil {
			continue
		}
		answered[a.Status.Address] = &answers[i]
		if newest == nil || a.Status.Formed && !newest.Formed || a.Status.Formed == newest.Formed && a.Status.Epoch > newest.Epoch {
			newest = &answers[i].Status
		}
	}
	if newest != nil {
		v.Cluster, v.ClusterID, v.Formed = newest.ClusterName, newest.Cluster, newest.Formed
		v.Durability, v.Epoch, v.Partitions = newest.Durability, newest.Epoch, newest.Partitions
		for _, m := range newest.Members {
			a := answered[m.Address]
			if m.State == protocol.StateDead {
				a = nil // another incarnation may answer there
			} else {
				delete(answered, m.Address)
			}
			v.addMember(m, a)
		}
	}
	// Who answered without being in the table: members of a grid being formed.
	for _, a := range answers {
		if _, ok := answered[a.Status.Address]; a.Err != nil || !ok {
			continue
		}
		s := a.Status
		v.addMember(protocol.StatusMember{ID: s.Member, Name: s.Name, Address: s.Address}, &a)
	}
	for _, a := range answers {
		known := func(m memberStatus) bool { return m.Address == a.Address }
		if a.Err == nil {
			continue
		}
		if i := slices.IndexFunc(v.Members, known); i >= 0 {
			v.Members[i].Detail = whyNot(a.Err)
		} else {
			v.Members = append(v.Members, memberStatus{Address: a.Address, State: stateUnreachable, Detail: whyNot(a.Err)})
		}
	}
	v.addGroups(answers)
	return v
}

// whyNot says why a member did not answer, in a few words where it is a common
// reason: its address stands beside it.
func whyNot(err error) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Err != nil:
		return op.Op + ": " + op.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	default:
		return err.Error()
	}
}

func (v *statusView) addMember(m protocol.StatusMember, a *cli.Answer) {
	s := memberStatus{ID: m.ID, Name: m.Name, Address: m.Address, Incarnation: m.Incarnation, State: stateUnreachable}
	switch {
	case m.State == protocol.StateDead:
		s.State = m.State
	case a != nil && a.Err == nil:
		s.State, s.Version, s.Detail = protocol.StateServing, a.Status.Version, a.Status.Waiting
		s.Memory, s.Watches = &a.Status.Memory, &a.Status.Watches
		if a.Status.Disk.Size > 0 {
			s.Disk = &a.Status.Disk
		}
		if !a.Status.Ready {
			s.State = protocol.StateForming
		}
	}
	v.names[m.ID] = m.Name
	v.Members = append(v.Members, s)
}

// name returns the name of a member, or its number.
func (v *statusView) name(id uint64) string {
	switch name := v.names[id]; {
	case id == 0:
		return ""
	case name == "":
		return fmt.Sprintf("#%d", id)
	default:
		return name
	}
}

func (v *statusView) addGroups(answers []cli.Answer) {
	newest := map[uint64]protocol.StatusGroup{}
	applied := map[[2]uint64]uint64{} // by group and member
	missing := map[uint64]int{}
	noRoom := map[uint64]string{}
	reachable := map[uint64]bool{}
	for _, a := range answers {
		if a.Err != nil {
			continue
		}
		reachable[a.Status.Member] = true
		for _, g := range a.Status.Groups {
			applied[[2]uint64{g.ID, a.Status.Member}] = g.Applied
			missing[g.ID] = max(missing[g.ID], g.Missing)
			noRoom[g.ID] = cmp.Or(g.NoHeadroom, noRoom[g.ID])
			have, ok := newest[g.ID]
			if !ok || g.Term > have.Term || g.Term == have.Term && have.Leader == 0 || g.Leader == a.Status.Member && g.Term == have.Term {
				newest[g.ID] = g
			}
		}
	}
	for id, g := range newest {
		s := groupStatus{
			ID: id, Term: g.Term, Partitions: g.Partitions, Missing: missing[id], NoHeadroom: noRoom[id], Refuses: g.Refuses, Sizes: g.Sizes,
			Generation: g.Generation, Lost: g.Lost, Replicas: []replicaStatus{},
		}
		for _, size := range g.Sizes {
			s.Bytes += size.Bytes
		}
		if reachable[g.Leader] {
			s.Leader = v.name(g.Leader)
		}
		for _, r := range g.Replicas {
			rs := replicaStatus{Member: v.name(r.Member), State: r.State, Applied: applied[[2]uint64{id, r.Member}], member: r.Member}
			switch {
			case r.State == protocol.ReplicaDead:
			case !reachable[r.Member]:
				rs.State = stateUnreachable
			case r.State == protocol.ReplicaNonVoting:
			case r.Member == g.Leader:
				rs.State = protocol.ReplicaLeader
			default:
				rs.State = protocol.ReplicaFollower
			}
			s.Applied = max(s.Applied, rs.Applied)
			s.Replicas = append(s.Replicas, rs)
		}
		v.Groups = append(v.Groups, s)
	}
	slices.SortFunc(v.Groups, func(a, b groupStatus) int { return cmp.Compare(a.ID, b.ID) })
}

// hash asks every replica for the hash of its state. Replicas that have applied
// the same must have the same hash; those that are on the way are asked again.
func (v *statusView) hash(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		differ, moving := v.hashOnce(ctx)
		if differ != nil || !moving || contexts.Sleep(ctx, 100*time.Millisecond) != nil {
			return differ
		}
	}
}

func (v *statusView) hashOnce(ctx context.Context) (differ error, moving bool) {
	type asked struct {
		member memberStatus
		report protocol.HashReport
		err    error
	}
	var all []asked
	for _, m := range v.Members {
		if m.State != stateUnreachable {
			all = append(all, asked{member: m})
		}
	}
	cli.Each(all, func(q *asked) { q.err = cli.Ask(ctx, q.member.Address, protocol.AdminHash, &q.report) })
	for i := range v.Groups {
		g := &v.Groups[i]
		first := map[uint64]string{} // hash by what was applied
		for j := range g.Replicas {
			r := &g.Replicas[j]
			r.Hash = ""
			for _, q := range all {
				if q.err != nil || q.report.Member != r.member {
					continue
				}
				if k := slices.IndexFunc(q.report.Groups, func(h protocol.GroupHash) bool { return h.ID == g.ID }); k >= 0 {
					r.Applied, r.Hash = q.report.Groups[k].Applied, fmt.Sprintf("%016x", q.report.Groups[k].Hash)
				}
			}
			if r.Hash == "" {
				continue
			}
			if h, ok := first[r.Applied]; ok && h != r.Hash {
				differ = errors.Join(differ, cli.No(fmt.Errorf("group %d: replicas differ at index %d: %s and %s", g.ID, r.Applied, h, r.Hash)))
			}
			first[r.Applied] = r.Hash
		}
		moving = moving || len(first) > 1
	}
	return differ, moving
}

// table prints the view, human-readable.
func (v *statusView) table() string {
	var b strings.Builder
	if v.Formed {
		fmt.Fprintf(&b, "cluster %s (%s)  durability %s  epoch %d  partitions %d\n\n", v.Cluster, v.ClusterID, v.Durability, v.Epoch, v.Partitions)
	} else {
		fmt.Fprintf(&b, "not formed yet\n\n")
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEMBER\tADDRESS\tSTATE\tMEMORY\tDISK FREE\tWATCHES\tINCARNATION\t")
	for _, m := range v.Members {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(m.Name, "-"), m.Address, m.State, memoryText(m.Memory), diskText(m.Disk), watchesText(m.Watches), m.Incarnation, m.Detail)
	}
	t.Flush()
	if len(v.Groups) > 0 {
		fmt.Fprintln(&b)
		fmt.Fprintln(t, "GROUP\tLEADER\tTERM\tAPPLIED\tPARTITIONS\tBYTES\tREPLICAS")
		for _, g := range v.Groups {
			id := fmt.Sprint(g.ID)
			if g.ID == uint64(protocol.SystemGroup) {
				id = "system"
			}
			var replicas []string
			for _, r := range g.Replicas {
				replicas = append(replicas, r.String())
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", id, cmp.Or(g.Leader, "NONE"), g.Term, g.Applied, g.Partitions, g.Bytes, strings.Join(replicas, " "))
		}
		t.Flush()
	}
	for _, line := range v.Warnings() {
		fmt.Fprintf(&b, "\n! %s", line)
	}
	if len(v.Warnings()) > 0 {
		fmt.Fprintln(&b)
	}
	return b.String()
}

// watchesText prints how many watches a member serves.
func watchesText(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

// memoryText prints what lives in a member's memory against its limit.
func memoryText(m *protocol.StatusMemory) string {
	switch {
	case m == nil:
		return "-"
	case m.Limit == 0:
		return fmt.Sprintf("%dM", m.Used>>20)
	}
	full := ""
	if m.Full {
		full = " FULL"
	}
	return fmt.Sprintf("%dM/%dM%s", m.Used>>20, m.Limit>>20, full)
}

// diskText prints the free space on a member's disk, and how short of it the member is.
func diskText(d *protocol.StatusDisk) string {
	if d == nil {
		return "-"
	}
	s := fmt.Sprintf("%dM/%dM", d.Free>>20, d.Size>>20)
	if d.Level != "ok" {
		s += " " + strings.ToUpper(d.Level)
	}
	return s
}

func (r replicaStatus) String() string {
	s := r.Member
	if r.State != protocol.ReplicaLeader && r.State != protocol.ReplicaFollower {
		s += "(" + r.State + ")"
	}
	if r.Hash != "" {
		s += fmt.Sprintf("=%s@%d", r.Hash, r.Applied)
	}
	return s
}

// Warnings are what a reader should not miss.
func (v *statusView) Warnings() []string {
	var lines []string
	for _, m := range v.Members {
		if m.State == protocol.StateForming {
			lines = append(lines, fmt.Sprintf("member %s at %s waits for %s", cmp.Or(m.Name, "(unknown)"), m.Address, m.Detail))
		}
		if m.State == stateUnreachable {
			if m.Name == "" {
				lines = append(lines, "nobody answers at "+m.Address)
				continue
			}
			lines = append(lines, fmt.Sprintf("member %s at %s did not answer", m.Name, m.Address))
		}
	}
	for _, g := range v.Groups {
		if g.Refuses != "" {
			lines = append(lines, fmt.Sprintf("group %d refuses writes that grow: %s", g.ID, g.Refuses))
		}
		switch {
		case g.Lost != "":
			lines = append(lines, g.Lost)
		case g.Leader == "" && g.ID == uint64(protocol.SystemGroup):
			lines = append(lines, "the system group has no leader")
		case g.Leader == "":
			lines = append(lines, fmt.Sprintf("group %d has no leader", g.ID))
		}
		if g.Missing > 0 {
			line := fmt.Sprintf("group %d is under-replicated: %d missing", g.ID, g.Missing)
			if g.NoHeadroom != "" {
				line += ": " + g.NoHeadroom
			}
			lines = append(lines, line)
		}
	}
	return lines
}
