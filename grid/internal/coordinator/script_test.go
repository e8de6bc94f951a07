package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/quorate/quorate/grid/internal/coordinator/coordinatortest"
	"github.com/quorate/quorate/grid/internal/coordinator/formation"
	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// script runs whole coordinators as a file of testdata says, on the World of package
// coordinatortest and in virtual time. These are its commands; MEMBERS stands for names,
// which are addresses, too.
//
//	start MEMBERS [expect=N] [join=A,B] [cluster=NAME] [name=NAME] [memory]
//	                      start members, with empty directories at first
//	kill MEMBERS          end their processes
//	kill-at POINT [MEMBER]
//	                      the next member that comes to a point of package tune ends there,
//	                      or the named one ends then
//	await-kill            let time pass until that has happened; "it" is that member's name
//	restart MEMBERS       start members again that have ended, with what is on their disks
//	wipe MEMBERS          empty the directories of members that have ended
//	lose, truncate MEMBERS
//	                      have their disks lose the logs of their replicas, or most of them
//	cut MEMBERS, heal     let nobody reach them, or all again
//	disk MEMBER LEVEL     free space of its disk: ok, full, hard, out
//	headroom, no-headroom MEMBERS
//	                      whether there is memory for what a member is to receive
//	leave MEMBERS         shut them down as an orderly stop does
//	run DURATION          let time pass
//	await [not] ready|full|failed MEMBERS
//	                      let time pass until it is so, 60 s at most
//	state                 what is agreed
//	status MEMBERS        what each waits for
//	leaders               how many groups each member leads
type script struct {
	t       *testing.T
	world   *coordinatortest.World
	dir     string
	members map[string]*scripted
	point   string // what POINT stands for, in scripts that run for each of several

	mu     sync.Mutex // guards what follows
	killAt string
	victim string      // "": who comes there
	killed chan string // the member that ended at killAt
	last   string      // of killed
}

// scripted is a member of a script.
type scripted struct {
	name   string // its address, too
	called string // its name, if that is another
	cfg    Config
	path   string // of its directory; "": in memory
	copy   string // what was in it when the process ended
	runs   int
	node   *coordinatortest.Node
	c      *Coordinator
	level  disk.Level
	full   bool
}

func newScript(t *testing.T, ctx context.Context, dir string) *script {
	return &script{t: t, world: coordinatortest.NewWorld(ctx), dir: dir, members: map[string]*scripted{}, killed: make(chan string, 1)}
}

// close ends all members.
func (s *script) close() {
	for _, m := range s.members {
		s.end(m)
	}
}

// names returns the members that a command names, in the order of their names.
func (s *script) names(d *datadriven.TestData) []*scripted {
	var all []*scripted
	for _, a := range d.CmdArgs {
		if len(a.Vals) > 0 {
			continue
		}
		name := a.Key
		if name == "it" {
			name = s.last
		}
		if m := s.members[name]; m != nil {
			all = append(all, m)
		}
	}
	return all
}

func (s *script) run(d *datadriven.TestData) string {
	switch d.Cmd {
	case "start":
		return s.start(d)
	case "kill":
		for _, m := range s.names(d) {
			s.end(m)
		}
	case "kill-at":
		s.mu.Lock()
		s.killAt, s.victim = s.pointOf(d.CmdArgs[0].Key), ""
		if len(d.CmdArgs) > 1 {
			s.victim = d.CmdArgs[1].Key
		}
		s.mu.Unlock()
	case "await-kill":
		select {
		case s.last = <-s.killed:
			s.end(s.members[s.last])
		case <-time.After(time.Minute):
			return "nobody has come to that point"
		}
	case "restart":
		for _, m := range s.names(d) {
			if err := s.begin(m); err != nil {
				return err.Error()
			}
		}
	case "wipe":
		for _, m := range s.names(d) {
			m.copy = ""
			m.node.Lose()
		}
	case "lose":
		for _, m := range s.names(d) {
			m.node.Lose()
		}
	case "truncate":
		for _, m := range s.names(d) {
			m.node.Truncate()
		}
	case "cut":
		for _, m := range s.names(d) {
			m.node.SetCut(true)
		}
	case "heal":
		for _, m := range s.members {
			m.node.SetCut(false)
		}
	case "disk":
		levels := map[string]disk.Level{"ok": disk.OK, "full": disk.Full, "hard": disk.Hard, "out": disk.Out}
		for _, m := range s.names(d) {
			m.level = levels[d.CmdArgs[1].Key]
			m.c.Rejoin.SetDisk(m.level)
		}
	case "no-headroom", "headroom":
		for _, m := range s.names(d) {
			s.mu.Lock()
			m.full = d.Cmd == "no-headroom"
			s.mu.Unlock()
		}
	case "leave":
		var all sync.WaitGroup
		for _, m := range s.names(d) {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				m.c.Leadership.Leave(ctx)
				m.c.Stop()
				m.c.Leadership.HandOver(ctx)
				m.c.Rejoin.Runs.EndRun()
				m.c.Gossip().Leave()
				s.end(m)
			})
		}
		all.Wait()
	case "run":
		for _, a := range d.CmdArgs {
			n, err := time.ParseDuration(a.Key)
			if err != nil {
				return err.Error()
			}
			time.Sleep(n)
		}
	case "await":
		return s.await(d)
	case "state":
		return s.state()
	case "status":
		return s.status(s.names(d))
	case "leaders":
		return s.leaders()
	default:
		return "unknown command " + d.Cmd
	}
	return ""
}

func (s *script) start(d *datadriven.TestData) string {
	cfg := Config{Settings: formation.Settings{Durability: "disk", Partitions: 12, Groups: 2}}
	var names []string
	called := ""
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "expect":
			a.Scan(s.t, 0, &cfg.Expect)
		case "join":
			cfg.Join = strings.Split(strings.Join(a.Vals, ","), ",")
		case "cluster":
			cfg.ClusterName = a.Vals[0]
		case "name":
			called = a.Vals[0]
		case "memory":
			cfg.Settings.Durability = "memory"
		default:
			names = append(names, a.Key)
		}
	}
	if cfg.Join == nil && len(names) > 1 {
		cfg.Join = names
	}
	for _, name := range names {
		m := &scripted{name: name, called: cmp.Or(called, name), cfg: cfg}
		if before := s.members[name]; before != nil {
			s.end(before)
			m.runs = before.runs
		}
		s.members[name] = m
		if err := s.begin(m); err != nil {
			return err.Error()
		}
	}
	return ""
}

// begin starts the process of a member.
func (s *script) begin(m *scripted) error {
	var dir *identity.Dir
	var err error
	if m.cfg.Settings.Durability == "memory" {
		dir, err = identity.Volatile(m.called)
	} else {
		m.runs++
		m.path = filepath.Join(s.dir, fmt.Sprint(m.name, "-", m.runs))
		if m.copy != "" {
			if err := os.CopyFS(m.path, os.DirFS(m.copy)); err != nil {
				return err
			}
		}
		dir, err = identity.Open(m.path, m.called)
	}
	if err != nil {
		return err
	}
	m.node = s.world.NewNode(m.name, dir)
	cfg := m.cfg
	cfg.Dir, cfg.Address, cfg.Network, cfg.Disk = dir, m.name, &network.Network{}, m.level
	cfg.Tune = func(*shardgroups.Config) {}
	cfg.Changed, cfg.Announced, cfg.Reset = func() {}, func() {}, func() {}
	cfg.Logger = slog.New(slog.NewTextHandler(logOf(s.t), nil)).With("member", m.name)
	cfg.Headroom = func(uint64) (uint64, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return 0, m.full
	}
	cfg.Stepped = func(point string, _ protocol.GroupID) { s.stepped(m, point) }
	cfg.Outside = Outside{Open: m.node.Open, Inspect: m.node.Inspect, Gossip: m.node.StartGossip, Peers: m.node}
	c, err := newCoordinator(cfg)
	if err != nil {
		return err
	}
	m.c = c
	m.node.Answer = c.Peer
	return c.start()
}

// logOf is where the members log: nowhere, or to the output of the test if
// QUORATE_SCRIPT_LOG is set.
func logOf(t *testing.T) io.Writer {
	if os.Getenv("QUORATE_SCRIPT_LOG") != "" {
		return t.Output()
	}
	return io.Discard
}

// end ends the process of a member, as SIGKILL does.
func (s *script) end(m *scripted) {
	if m.c == nil {
		return
	}
	s.crash(m)
	m.c.Close(false)
	_ = m.c.Dir().Close() // its lock is of this process
	m.c = nil
}

// crash has a member reach nobody any more, and keeps what is on its disk now.
func (s *script) crash(m *scripted) {
	m.node.Kill()
	if copied := m.path + "-copy"; m.path != "" && m.copy != copied {
		m.copy = copied
		if err := os.CopyFS(m.copy, os.DirFS(m.path)); err != nil {
			s.t.Error(err)
		}
		_ = os.Remove(filepath.Join(m.copy, "LOCK"))
	}
}

// stepped ends a member that has come to the point at which one is to be killed.
func (s *script) stepped(m *scripted, point string) {
	s.mu.Lock()
	here := s.killAt == point
	if here {
		s.killAt = ""
	}
	s.mu.Unlock()
	switch {
	case !here:
	case s.victim != "" && s.victim != m.name:
		s.crash(s.members[s.victim])
		s.killed <- s.victim
	default:
		s.crash(m)
		s.killed <- m.name
		runtime.Goexit()
	}
}

// await lets time pass until what a script waits for is so.
func (s *script) await(d *datadriven.TestData) string {
	want := map[string]func(*scripted) bool{
		"ready":  func(m *scripted) bool { return m.c != nil && m.c.IsReady() },
		"full":   func(m *scripted) bool { return m.c != nil && m.c.Placement.Full() == nil },
		"failed": func(m *scripted) bool { return m.c != nil && m.c.Failed() != nil },
	}[d.CmdArgs[0].Key]
	all := s.names(d)
	for range 600 {
		if !slices.ContainsFunc(all, func(m *scripted) bool { return !want(m) }) {
			return ""
		}
		time.Sleep(100 * time.Millisecond)
	}
	return s.status(all)
}

func (s *script) status(all []*scripted) string {
	var out strings.Builder
	for _, m := range all {
		switch {
		case m.c == nil:
			fmt.Fprintf(&out, "%s: not running\n", m.name)
		case m.c.Failed() != nil:
			fmt.Fprintf(&out, "%s: failed: %s\n", m.name, s.masked(m.c.Failed().Error()))
		case !m.c.IsReady():
			fmt.Fprintf(&out, "%s: waiting for %s\n", m.name, s.masked(m.c.Waiting()))
		default:
			if err := m.c.Placement.Full(); err != nil {
				fmt.Fprintf(&out, "%s: ready, %v\n", m.name, err)
			} else {
				fmt.Fprintf(&out, "%s: ready, fully replicated\n", m.name)
			}
		}
	}
	return out.String()
}

var uuids = regexp.MustCompile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

// masked leaves out of a message what differs each time.
func (s *script) masked(text string) string {
	return uuids.ReplaceAllString(strings.ReplaceAll(text, s.dir, ""), "UUID")
}

// state says what is agreed: the members, and of each group who has its replicas.
func (s *script) state() string {
	v := s.world.Cluster()
	if v == nil || v.Cluster == (protocol.UUID{}) {
		return "no cluster\n"
	}
	var out strings.Builder
	name := func(o systemstate.Member) string {
		if o.Gone {
			return o.Name + "(replaced)"
		}
		return o.Name
	}
	var members []string
	for _, o := range v.Members {
		members = append(members, name(o))
	}
	slices.Sort(members)
	formed := "not formed"
	if v.Formed {
		formed = "formed"
	}
	fmt.Fprintf(&out, "%s, %s: %s\n", v.Name, formed, strings.Join(members, " "))
	for _, g := range v.Groups {
		var replicas []string
		for _, r := range g.Replicas {
			o, _ := v.Member(r.Member)
			text := name(o)
			if r.NonVoting {
				text += "(learner)"
			}
			replicas = append(replicas, text)
		}
		slices.Sort(replicas)
		fmt.Fprintf(&out, "group %d: %s\n", g.ID, strings.Join(replicas, " "))
	}
	return out.String()
}

func (s *script) leaders() string {
	v := s.world.Cluster()
	leads := map[string]int{}
	for _, m := range s.members {
		if m.c != nil {
			leads[m.name] = 0
		}
	}
	for _, g := range v.Groups {
		if g.ID != protocol.SystemGroup {
			leads[s.world.Leader(v.Cluster, g.ID)]++
		}
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(leads)) {
		fmt.Fprintf(&out, "%s: %d\n", name, leads[name])
	}
	return out.String()
}

// points are the points of package tune, by the names that scripts use.
var points = map[string]string{
	"founder-noted": tune.FounderNoted, "cluster-founded": tune.ClusterFounded, "enlisted": tune.Enlisted,
	"member-listed": tune.MemberListed, "formed-logged": tune.FormedLogged, "formed-noted": tune.FormedNoted,
	"groups-agreed": tune.GroupsAgreed, "copy-agreed": tune.ReplicaAgreed, "copy-added": tune.ReplicaAdded,
	"promotion-made": tune.PromotionMade, "promotion-done": tune.PromotionDone, "drop-made": tune.DropMade,
	"drop-agreed": tune.DropAgreed, "transferred": tune.Transferred, "leave-granted": tune.LeaveGranted,
}

// pointOf returns the point that a script names.
func (s *script) pointOf(name string) string {
	if name == "POINT" {
		name = s.point
	}
	if points[name] == "" {
		s.t.Errorf("there is no point %q", name)
	}
	return points[name]
}

// TestScripts runs the scripts of testdata, each alone. One whose first line names points
// is run for each of them, and prints the same each time.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".txt"), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(b), "\n")
			names, ok := strings.CutPrefix(first, "# points:")
			if !ok {
				runScript(t, file, "")
				return
			}
			for point := range strings.FieldsSeq(names) {
				t.Run(point, func(t *testing.T) { runScript(t, file, point) })
			}
		})
	}
}

func runScript(t *testing.T, file, point string) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newScript(t, ctx, dir)
		s.point = point
		defer cancel()
		defer s.close()
		datadriven.RunTest(t, file, func(_ *testing.T, d *datadriven.TestData) string { return s.run(d) })
	})
}
