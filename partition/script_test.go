package partition

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata answer into them")

// TestScripts runs testdata/*.txt: blocks of commands, then "----", then what
// they print. testdata/README.md lists the commands.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-rewrite accepts it):\n%s", file, diff)
			}
		})
	}
}

// runScript returns the script with every block's output as it is now.
func runScript(script string) string {
	w := &world{leaders: map[protocol.GroupID]protocol.MemberID{}}
	var out bytes.Buffer
	inOutput := false
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case inOutput && line != "":
			continue
		case line == "----":
			inOutput = true
			out.WriteString("----\n")
			out.WriteString(w.out.String())
			w.out.Reset()
		default:
			inOutput = false
			out.WriteString(line + "\n")
			if fields := strings.Fields(line); len(fields) > 0 && fields[0] != "#" {
				w.run(fields[0], fields[1:])
			}
		}
	}
	return out.String()
}

// world is what a script changes.
type world struct {
	out     strings.Builder
	table   *Table
	leaders map[protocol.GroupID]protocol.MemberID
	places  Places
	steps   []Step
	next    protocol.ReplicaID
	caught  []protocol.ReplicaID // have caught up; no two groups have the same in a script
}

func (w *world) caughtUp(_ protocol.GroupID, r protocol.ReplicaID) bool {
	return slices.Contains(w.caught, r)
}

func (w *world) run(command string, args []string) {
	if err := w.command(command, args); err != nil {
		fmt.Fprintf(&w.out, "error: %v\n", err)
	}
}

func (w *world) command(command string, args []string) (err error) {
	switch command {
	case "first": // PARTITIONS GROUPS REPLICAS MEMBER...
		n := ids[int](args)
		f := First{Partitions: n[0], Groups: n[1], Replicas: n[2], Members: ids[protocol.MemberID](args[3:]), NextReplica: 1}
		t, err := PlanGroups(f)
		if err != nil {
			return err
		}
		w.table, w.next, w.places, w.caught = t, 1, Places{CaughtUp: w.caughtUp}, nil
		clear(w.leaders)
		for _, g := range t.Groups {
			w.next += protocol.ReplicaID(len(g.Replicas))
		}
		w.print()
		return t.Check()
	case "member": // MEMBER...: joins the table
		w.table.Members = append(w.table.Members, ids[protocol.MemberID](args)...)
		slices.Sort(w.table.Members)
		return w.table.Check()
	case "led": // GROUP=MEMBER...
		for _, arg := range args {
			g, m, _ := strings.Cut(arg, "=")
			w.leaders[id[protocol.GroupID](g)] = id[protocol.MemberID](m)
		}
	case "leaders": // ABLE...: plans, prints and carries out
		for _, s := range PlanLeaders(w.table, w.leaders, ids[protocol.MemberID](args)) {
			fmt.Fprintf(&w.out, "group %d: member %d -> %d (replica %d)\n", s.Group, s.From, s.To, s.Replica)
			w.leaders[s.Group] = s.To
		}
		load := map[protocol.MemberID]int{}
		for _, m := range w.leaders {
			load[m]++
		}
		for _, m := range slices.Sorted(maps.Keys(load)) {
			fmt.Fprintf(&w.out, "member %d leads %d\n", m, load[m])
		}
	case "want": // REPLICAS
		w.places.Replicas = id[int](args[0])
	case "system": // MEMBER...: the system group, all of them voters, and its target
		g := Group{ID: protocol.SystemGroup}
		for _, m := range ids[protocol.MemberID](args) {
			g.Replicas = append(g.Replicas, Replica{ID: w.next, Member: m})
			w.next++
		}
		w.table.Groups = append([]Group{g}, w.table.Groups...)
		w.places.Targets = map[protocol.GroupID]Target{protocol.SystemGroup: {Voters: 5, Copies: 100}}
		w.print()
		return w.table.Check()
	case "missing": // of every group
		for _, g := range w.table.Groups {
			fmt.Fprintf(&w.out, "group %d misses %d\n", g.ID, Missing(w.table, g, w.places))
		}
	case "running":
		w.places.Running = ids[protocol.MemberID](args)
	case "gone":
		w.places.Gone = ids[protocol.MemberID](args)
	case "caught-up":
		w.caught = append(w.caught, ids[protocol.ReplicaID](args)...)
	case "steps": // plans and prints
		w.steps = PlanReplicas(w.table, w.places)
		w.printSteps()
	case "do": // carries out the steps planned last
		for _, s := range w.steps {
			w.do(s)
		}
		return w.table.Check()
	case "settle": // plans and carries out, everybody catching up at once, until nothing is left
		for round := 1; ; round++ {
			w.steps = PlanReplicas(w.table, w.places)
			if len(w.steps) == 0 {
				break
			}
			fmt.Fprintf(&w.out, "round %d\n", round)
			w.printSteps()
			for _, s := range w.steps {
				w.do(s)
				w.caught = append(w.caught, w.next-1)
			}
		}
		w.print()
		return w.table.Check()
	case "moves": // PARTITION=GROUP...: to a table where these differ
		to := *w.table
		to.Partitions = slices.Clone(to.Partitions)
		for _, arg := range args {
			p, g, _ := strings.Cut(arg, "=")
			to.Partitions[id[int](p)] = id[protocol.GroupID](g)
		}
		moves, err := PlanMoves(w.table, &to)
		for _, m := range moves {
			fmt.Fprintf(&w.out, "partition %d: group %d -> %d\n", m.Partition, m.From, m.To)
		}
		return err
	case "table":
		w.print()
	default:
		return fmt.Errorf("no command %q", command)
	}
	return nil
}

func (w *world) do(s Step) {
	i := slices.IndexFunc(w.table.Groups, func(g Group) bool { return g.ID == s.Group })
	replicas := &w.table.Groups[i].Replicas
	at := slices.IndexFunc(*replicas, func(r Replica) bool { return r.ID == s.Replica })
	switch s.Change {
	case AddNonVoting:
		*replicas = append(*replicas, Replica{ID: w.next, Member: s.Member, NonVoting: true})
		w.next++
	case Promote:
		(*replicas)[at].NonVoting = false
	case Remove:
		*replicas = slices.Delete(*replicas, at, at+1)
	}
}

func (w *world) printSteps() {
	for _, s := range w.steps {
		fmt.Fprintf(&w.out, "group %d: %s member %d", s.Group, s.Change, s.Member)
		if s.Replica != 0 {
			fmt.Fprintf(&w.out, " (replica %d)", s.Replica)
		}
		w.out.WriteByte('\n')
	}
	if len(w.steps) == 0 {
		w.out.WriteString("nothing to do\n")
	}
}

func (w *world) print() {
	owned := map[protocol.GroupID]int{}
	for _, g := range w.table.Partitions {
		owned[g]++
	}
	for _, g := range w.table.Groups {
		fmt.Fprintf(&w.out, "group %d owns %d, replicas", g.ID, owned[g.ID])
		for _, r := range g.Replicas {
			fmt.Fprintf(&w.out, " %d@%d", r.ID, r.Member)
			if r.NonVoting {
				w.out.WriteByte('?')
			}
		}
		w.out.WriteByte('\n')
	}
}

type number interface {
	~int | ~uint64
}

func id[T number](s string) T {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(fmt.Sprintf("not a number: %q", s))
	}
	return T(n)
}

func ids[T number](args []string) []T {
	var all []T
	for _, arg := range args {
		all = append(all, id[T](arg))
	}
	return all
}
