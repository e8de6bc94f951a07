package conform

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Level is what of the protocol a client speaks. Each includes those before it.
type Level uint8

// The levels.
const (
	Simple  Level = iota + 1 // reads and mutations, by way of any member
	Waiting                  // calls that wait
	Holding                  // calls that hold, with heartbeats
	Full                     // routing: it goes to the leaders itself
)

var levels = []string{Simple: "simple", Waiting: "waiting", Holding: "holding", Full: "full"}

// String names the level.
func (l Level) String() string {
	if int(l) < len(levels) && levels[l] != "" {
		return levels[l]
	}
	return "unknown"
}

// ParseLevel returns the level with a name.
func ParseLevel(name string) (Level, error) {
	if i := slices.Index(levels, name); i > 0 {
		return Level(i), nil
	}
	return 0, fmt.Errorf("unknown level %q: simple, waiting, holding or full", name)
}

// Options say what is tested.
type Options struct {
	Listen string   // of the first member; others have the next ports, or with port 0 any
	Level  Level    // 0: Full
	Cases  []string // by name; none: all of the level
	Driver Driver
	Each   func(Result)  // called after each case; nil: it is not
	Limit  time.Duration // of a case; 0: a minute
}

// Result is what a case has found.
type Result struct {
	Case   string    `json:"case"`
	Level  string    `json:"level"`
	Rule   Rule      `json:"rule"` // that the case is about
	About  string    `json:"about"`
	Tasks  []string  `json:"tasks"`
	Kept   []Rule    `json:"kept"` // the rules that were met and kept
	Broken []Finding `json:"broken"`
}

// Passed reports whether the client has kept all rules.
func (r *Result) Passed() bool { return len(r.Broken) == 0 }

// Run tests a client. Its error says that the test could not be made, not that the
// client has failed.
func Run(ctx context.Context, o Options) ([]Result, error) {
	if o.Level == 0 {
		o.Level = Full
	}
	if o.Limit == 0 {
		o.Limit = time.Minute
	}
	for _, name := range o.Cases {
		if !slices.ContainsFunc(cases, func(c testCase) bool { return c.name == name }) {
			return nil, fmt.Errorf("%w: there is no case %q: --list has them", protocol.CodeInvalid.Err(), name)
		}
	}
	var results []Result
	for i := range cases {
		c := &cases[i]
		if c.level > o.Level || len(o.Cases) > 0 && !slices.Contains(o.Cases, c.name) {
			continue
		}
		result, err := runCase(ctx, &o, c)
		if err != nil {
			return results, fmt.Errorf("case %s: %w", c.name, err)
		}
		results = append(results, result)
		if o.Each != nil {
			o.Each(result)
		}
	}
	return results, nil
}

// Sum returns the rules that a client has kept in all cases, that it has broken in
// one, and that it has not met. None of them is nil.
func Sum(results []Result) (kept, broken, notMet []Rule) {
	kept, broken, notMet = []Rule{}, []Rule{}, []Rule{}
	for _, t := range rules {
		met, failed := false, false
		for _, r := range results {
			met = met || slices.Contains(r.Kept, t.Rule)
			failed = failed || slices.ContainsFunc(r.Broken, func(f Finding) bool { return f.Rule == t.Rule })
		}
		switch {
		case failed:
			broken = append(broken, t.Rule)
		case met:
			kept = append(kept, t.Rule)
		default:
			notMet = append(notMet, t.Rule)
		}
	}
	return kept, broken, notMet
}

// run is a case under way.
type run struct {
	c       *testCase
	cluster protocol.UUID
	wg      sync.WaitGroup

	mu       sync.Mutex // guards what follows
	over     bool
	late     bool // the client was not done in time: there is no result
	members  []*member
	state    *state
	epoch    protocol.Epoch
	term     uint64
	moves    int // how often all partitions have moved
	leaders  map[protocol.GroupID]protocol.MemberID
	client   protocol.UUID
	hellos   int
	ended    bool // a session
	sessions map[protocol.SessionID]*session
	last     protocol.SessionID
	calls    map[place]*call
	slots    map[slot]*call // the last call in it
	broken   []Finding
	met      map[Rule]bool
	counts   map[string]int // of what the case counts
	repeats  int            // of calls that do not wait
	hasty    int            // of those: before the attempt's time
	sequence uint64         // of what the script does itself
}

// session is a session of the client under test.
type session struct {
	id     protocol.SessionID
	client protocol.UUID
	ttl    time.Duration
	until  time.Time
	kept   bool // by its client
	ended  bool
}

// lock runs f under mu.
func (r *run) lock(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func runCase(ctx context.Context, o *Options, c *testCase) (Result, error) {
	s, err := newState()
	if err != nil {
		return Result{}, err
	}
	r := &run{
		c: c, cluster: protocol.UUID{0xc0, 0x4f}, state: s, epoch: 1, term: 1, leaders: map[protocol.GroupID]protocol.MemberID{},
		sessions: map[protocol.SessionID]*session{}, last: own, calls: map[place]*call{}, slots: map[slot]*call{}, counts: map[string]int{}, met: map[Rule]bool{},
	}
	s.open(own)
	if err := r.start(o.Listen); err != nil {
		return Result{}, err
	}
	r.lock(func() {
		r.lead(r.members[0])
		if c.before != nil {
			c.before(r)
		}
	})
	ctx, cancel := context.WithTimeout(ctx, o.Limit)
	defer cancel()
	ticking, stopTicking := context.WithCancel(ctx)
	r.wg.Go(func() { r.tick(ticking) })
	var endpoints []string
	for _, m := range r.members[:c.endpoints()] {
		endpoints = append(endpoints, m.address)
	}
	last, err := r.perform(ctx, o.Driver, endpoints)
	stopTicking()
	r.lock(func() {
		r.over = true
		for _, m := range r.members {
			m.stop()
		}
	})
	r.wg.Wait()
	switch {
	case err != nil && ctx.Err() == nil:
		return Result{}, err
	case err != nil:
		r.late = true
		r.broke(c.rule, "%s: the client was not done within %v", c.about, o.Limit)
	}
	r.judge(last)
	return Result{Case: c.name, Level: c.level.String(), Rule: c.rule, About: c.about, Tasks: c.task, Kept: r.kept(), Broken: r.broken}, nil
}

// perform has a client perform the tasks of the case, and returns the last reply.
func (r *run) perform(ctx context.Context, d Driver, endpoints []string) (last string, err error) {
	client, err := d.Start(ctx, endpoints)
	if err != nil {
		return "", err
	}
	defer func() {
		if e := client.Close(); e != nil && ctx.Err() == nil {
			r.lock(func() { r.broke(RuleDriver, "the client does not exit gracefully: %v", e) })
		}
	}()
	for i, task := range r.c.task {
		if d, err := time.ParseDuration(task); err == nil {
			if !pause(ctx, d) {
				break
			}
			continue
		}
		if last, err = client.Do(task); err != nil {
			if ctx.Err() == nil {
				r.lock(func() { r.broke(RuleDriver, "%.100q: %v", task, err) })
			}
			break
		}
		r.lock(func() { r.met[RuleDriver] = true })
		if word, _, _ := strings.Cut(last, " "); word != "ok" && i+1 < len(r.c.task) {
			r.lock(func() { r.broke(r.c.ruleOf(word), "%.100q: the client replies %.200q", task, last) })
			break
		}
	}
	return last, ctx.Err()
}

// pause does nothing for a while, and reports whether it was that long.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// start starts the members.
func (r *run) start(listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	for i := range max(r.c.members, 1) {
		at := listen
		if first != 0 {
			at = net.JoinHostPort(host, strconv.Itoa(first+i))
		}
		m, err := r.listen(protocol.MemberID(i+1), at)
		if err != nil {
			for _, m := range r.members {
				r.lock(m.stop)
			}
			return err
		}
		r.lock(func() { r.members = append(r.members, m) })
	}
	return nil
}

// tick lets time pass, and ends sessions.
func (r *run) tick(ctx context.Context) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		r.lock(func() {
			now := time.Now()
			for _, s := range r.sessions {
				if !s.ended && now.After(s.until) {
					r.end(s)
					if !r.c.silent {
						what := "nothing came of the client"
						if s.kept {
							what = "no heartbeat came"
						}
						r.broke(RuleHeartbeat, "session %d has ended: %s for %v", s.id, what, s.ttl)
					}
				}
			}
			r.state.tick()
			if r.c.tick != nil {
				r.c.tick(r)
			}
		})
	}
}

// end ends a session. mu is held.
func (r *run) end(s *session) {
	s.ended, r.ended = true, true
	r.state.end(s.id)
}

// heard notes that something has come of the client. mu is held.
func (r *run) heard(c *conn) {
	for _, s := range r.sessions {
		if !s.ended && !s.kept && s.client == c.hello.Client && c.greeted {
			s.until = time.Now().Add(s.ttl)
		}
	}
}

// open opens a session, or finds it. mu is held.
func (r *run) open(client protocol.UUID, ttl uint32, kept bool) *session {
	for _, s := range r.sessions {
		if s.client == client && !s.ended {
			s.kept = s.kept || kept
			s.until = time.Now().Add(s.ttl)
			return s
		}
	}
	r.last++
	s := &session{id: r.last, client: client, kept: kept, ttl: r.c.ttl}
	if s.ttl == 0 {
		s.ttl = min(max(time.Duration(ttl)*time.Millisecond, 2*time.Second), time.Hour)
	}
	s.until = time.Now().Add(s.ttl)
	r.sessions[s.id] = s
	r.state.open(s.id)
	return s
}

// session answers what the client asks about its session. mu is held.
func (r *run) session(c *conn, q *protocol.SessionRequest) {
	reply := func(code protocol.Code, s *session, ttl time.Duration) {
		p := protocol.Reply{ID: q.ID, Code: code}
		if code == protocol.CodeOK {
			p.Body = r.grown(protocol.Encode(protocol.SessionState{Session: s.id, TTL: uint32(ttl / time.Millisecond)}))
		}
		c.answer(p, whole)
	}
	if leader := r.leaders[protocol.SystemGroup]; leader != c.m.id && c.hello.Flags&protocol.HelloForward == 0 {
		c.answer(protocol.Reply{ID: q.ID, Code: protocol.CodeNotLeader, Body: r.problem(protocol.Problem{Leader: leader})}, whole)
		return
	}
	if r.c.asks != nil {
		if code, silent := r.c.asks(r, q); silent {
			return
		} else if code != protocol.CodeOK {
			reply(code, nil, 0)
			return
		}
	}
	s := r.sessions[q.Session]
	switch {
	case q.Action == protocol.SessionOpen && q.Client == (protocol.UUID{}):
		r.broke(RuleSession, "a session is opened without a UUID")
		reply(protocol.CodeInvalid, nil, 0)
	case q.Action == protocol.SessionOpen:
		s = r.open(q.Client, q.TTL, true)
		reply(protocol.CodeOK, s, s.ttl)
	case s == nil || s.ended:
		if s == nil {
			r.broke(RuleSession, "the client speaks of session %d, which it was not given", q.Session)
		}
		if q.Action == protocol.SessionClose && s != nil {
			reply(protocol.CodeOK, s, 0)
			return
		}
		reply(protocol.CodeSessionEnded, nil, 0)
	case q.Action == protocol.SessionHeartbeat:
		s.kept, s.until = true, time.Now().Add(s.ttl)
		r.met[RuleHeartbeat], r.met[RuleSession] = true, true
		r.counts["heartbeats"]++
		reply(protocol.CodeOK, s, s.ttl)
	case q.Action == protocol.SessionClose:
		r.end(s)
		reply(protocol.CodeOK, s, 0)
	default:
		r.broke(RuleForm, "there is no action %d on sessions", q.Action)
	}
}

// do carries out something in the script's own name. mu is held.
func (r *run) do(kind protocol.KindID, op protocol.Op, name string, body []byte) {
	r.sequence++
	r.state.do(r.sequence, kind, op, name, body)
}

// put stores a value in a map in the script's own name. mu is held.
func (r *run) put(name, key string, value []byte) {
	b := protocol.AppendBytes(protocol.AppendArray(nil, 3), []byte(key))
	r.sequence++
	r.state.do(r.sequence, kindMap, mapPut, name, protocol.AppendInt(protocol.AppendBytes(b, value), 0))
}

// List returns the cases of a level and those below, as they are before anything
// was found.
func List(l Level) []Result {
	var all []Result
	for i := range cases {
		if c := &cases[i]; c.level <= l {
			all = append(all, Result{Case: c.name, Level: c.level.String(), Rule: c.rule, About: c.about, Tasks: c.task})
		}
	}
	return all
}

// Cases returns the names of the cases of a level and those below.
func Cases(l Level) []string {
	var names []string
	for _, c := range List(l) {
		names = append(names, c.Case)
	}
	return names
}
