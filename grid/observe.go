package grid

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/web"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/hub"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
)

// health is what /livez and /readyz answer.
func (m *Member) health() web.Health {
	c := m.coordinator
	m.mu.Lock()
	closing := m.closed
	m.mu.Unlock()
	var h web.Health
	add := func(name string, ok bool, format string, args ...any) {
		h.Checks = append(h.Checks, web.Check{Name: name, OK: ok, Detail: fmt.Sprintf(format, args...)})
	}
	if err := c.Failed(); err != nil {
		h.Dead = err.Error()
		add("configuration", false, "%v", err)
	}
	self := c.Member()
	if self.Formed {
		add("formed", true, "cluster %s", self.ClusterName)
	} else {
		add("formed", false, "waits for %s", c.Waiting())
	}
	serves := c.IsReady()
	switch {
	case serves && closing:
		add("serves", false, "the member is going away")
	case serves:
		add("serves", true, "")
	default:
		add("serves", false, "waits for %s", c.Waiting())
	}
	h.Ready = serves && !closing && h.Dead == ""
	if v := c.View(); v != nil {
		m.checkGroups(v, add)
	}
	return h
}

// checkGroups adds a check for each group. A member serves even if some groups have no
// leader or are not restored yet.
func (m *Member) checkGroups(v *systemstate.ClusterState, add func(name string, ok bool, format string, args ...any)) {
	var without []string
	for _, id := range m.coordinator.Leaderless() {
		without = append(without, groupLabel(id))
	}
	if len(without) > 0 {
		add("leaders", false, "none known of group %s", strings.Join(without, ", "))
	} else {
		add("leaders", true, "of all %d groups", len(v.Groups))
	}
	var loading []string
	for _, id := range membership.Loading(v) {
		loading = append(loading, groupLabel(id))
	}
	if len(loading) > 0 {
		add("restored", false, "group %s is not restored", strings.Join(loading, ", "))
	}
	if err := m.coordinator.Placement.Full(); err != nil {
		add("full", false, "%v", err)
	} else {
		add("full", true, "no group misses a replica")
	}
	var silent []string
	self := m.coordinator.Member().Incarnation
	for _, o := range v.Members {
		if o.Incarnation != self && !m.coordinator.Heard(o.Incarnation) {
			silent = append(silent, o.Name)
		}
	}
	if len(silent) > 0 {
		add("members", false, "not heard of %s", strings.Join(silent, ", "))
	} else {
		add("members", true, "all %d heard", len(v.Members))
	}
}

func groupLabel(g protocol.GroupID) string { return strconv.FormatUint(uint64(g), 10) }

// metrics is what /metrics shows.
func (m *Member) metrics() web.Metrics {
	out := web.Metrics{}
	c := m.coordinator
	self := c.Member()
	out.Add("info", 1, version(), cmp.Or(self.ClusterName, m.cfg.Cluster), m.cfg.Name, self.Durability)
	out.Add("ready", boolean(m.health().Ready))
	m.addProcess(out)
	m.addDNS(out)
	refused := m.addServer(out)
	if h := c.Host(); h != nil {
		m.addGroups(out, h, refused)
		out.Add("slow_operations_total", float64(h.SlowOperations()))
	}
	for code, n := range refused {
		out.Add("refused_total", float64(n), code.Name())
	}
	if v := c.View(); v != nil {
		m.addClusterState(out, v)
	}
	return out
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *Member) addServer(out web.Metrics) (refused map[protocol.Code]uint64) {
	s := m.server.Stats()
	out.Add("connections", float64(s.Clients), "client")
	out.Add("connections", float64(s.Connections-s.Clients), "other")
	out.Add("sessions_kept", float64(s.SessionsKept))
	out.Add("sessions_not_opened_total", float64(s.SessionsNotOpened))
	for reason, n := range s.Closed {
		out.Add("connections_closed_total", float64(n), reason)
	}
	return s.Refused
}

// addDNS adds what was asked over DNS, if it can be.
func (m *Member) addDNS(out web.Metrics) {
	if m.dns == nil {
		return
	}
	s := m.dns.Stats()
	for transport, n := range s.Queries {
		out.Add("dns_queries_total", float64(n), transport)
	}
	for code, n := range s.Responses {
		out.Add("dns_responses_total", float64(n), code)
	}
	out.Add("dns_mirrors", float64(s.Mirrors))
}

func (m *Member) addClusterState(out web.Metrics, v *systemstate.ClusterState) {
	out.Add("epoch", float64(v.Epoch))
	self := m.coordinator.Member().Incarnation
	heard := 0
	for _, o := range v.Members {
		if o.Incarnation == self || m.coordinator.Heard(o.Incarnation) {
			heard++
		}
	}
	out.Add("members", float64(heard), protocol.StateServing)
	out.Add("members", float64(len(v.Members)-heard), protocol.StateSilent)
	owned := map[protocol.GroupID]int{}
	for _, g := range v.Partitions {
		owned[g]++
	}
	mine, missing := m.coordinator.Self(), m.coordinator.Placement.Missing()
	for _, g := range v.Groups {
		label := groupLabel(g.ID)
		leader, term := m.coordinator.Leader(g.ID)
		out.Add("group_is_leader", boolean(leader == mine && mine != 0), label)
		out.Add("group_has_leader", boolean(leader != 0), label)
		out.Add("group_term", float64(term), label)
		out.Add("group_partitions", float64(owned[g.ID]), label)
		voters := 0
		for _, r := range g.Replicas {
			if !r.NonVoting {
				voters++
			}
		}
		out.Add("group_missing_replicas", float64(missing[g.ID]), label)
		out.Add("group_replicas", float64(voters), label, "voter")
		out.Add("group_replicas", float64(len(g.Replicas)-voters), label, protocol.ReplicaNonVoting)
	}
}

// addGroups adds the metrics of the groups with a replica here to out, and the requests
// that they refused to refused.
func (m *Member) addGroups(out web.Metrics, h *shardgroups.Host, refused map[protocol.Code]uint64) {
	system := groupLabel(protocol.SystemGroup)
	out.Add("group_applied", float64(h.System().Applied()), system)
	out.Add("sessions", float64(h.System().Sessions()))
	for why, n := range h.SessionList().Ended() {
		out.Add("sessions_ended_total", float64(n), systemstate.End(why).String())
	}
	var sum meters
	var watches hub.Stats
	instances := states{}
	var repeats, reads, piggybacked, entries, snapshots uint64
	for _, g := range h.Groups() {
		s := g.Status()
		label := groupLabel(g.ID())
		for name, n := range map[string]int{
			"group_structures": s.State.Distinct, "group_rows": s.State.Rows, "group_bytes": s.State.Bytes,
			"group_records": s.State.Records, "group_events": s.State.Events, "group_history_bytes": s.State.History,
			"group_history_limit_bytes": s.State.MaxHistory,
			"group_sessions":            s.State.Sessions,
			"group_queued_requests":     s.QueuedRequests, "group_queued_bytes": s.QueuedBytes, "group_waiting_calls": s.Waiting,
		} {
			out.Add(name, float64(n), label)
		}
		out.Add("group_applied", float64(s.Applied), label)
		repeats, entries, snapshots = repeats+s.Repeats, entries+s.Entries, snapshots+s.Snapshots
		reads, piggybacked = reads+s.Reads, piggybacked+s.Piggybacked
		sum.add(g.Meters())
		watches.Add(g.Hub().Stats())
		if s.Leader.Self {
			instances.add(s.State.States)
		}
	}
	addWatches(out, &watches)
	instances.show(out, m.kinds)
	out.Add("repeats_total", float64(repeats))
	out.Add("entries_total", float64(entries))
	out.Add("snapshots_total", float64(snapshots))
	out.Add("reads_total", float64(reads), "index")
	out.Add("reads_total", float64(piggybacked), "piggybacked")
	for code, n := range sum.refused {
		refused[code] += n
	}
	sum.show(out, m.kinds)
	addHistogram(out, "log_sync_seconds", h.SyncTimes(), seconds)
}

// states adds up what structures have by state, of each kind that counts that.
type states map[protocol.KindID][]int64

func (s states) add(more map[protocol.KindID][]int64) {
	for kind, sums := range more {
		if s[kind] == nil {
			s[kind] = make([]int64, len(sums))
		}
		for i, n := range sums {
			s[kind][i] += n
		}
	}
}

// show adds the sums to out, zeros too: a member that leads no group has none.
func (s states) show(out web.Metrics, kinds *groupstate.Kinds) {
	for id, k := range kinds {
		if k == nil || k.Counted == nil {
			continue
		}
		sums := s[protocol.KindID(id)]
		for i, state := range k.Counted.States {
			n := int64(0)
			if sums != nil {
				n = sums[i]
			}
			out.Add("instances", float64(n), k.Name, state)
		}
	}
}

// meters adds up what the groups have counted.
type meters struct {
	operations map[opKey]uint64
	latency    map[classKey]shardgroups.Histogram
	refused    map[protocol.Code]uint64

	transactions map[structures.TxnOutcome]uint64

	sizes, replicate, apply, transactionSizes shardgroups.Histogram
}

type opKey struct {
	kind protocol.KindID
	op   protocol.Op
}

type classKey struct {
	kind  protocol.KindID
	class shardgroups.Class
}

func (m *meters) add(g shardgroups.Meters) {
	if m.operations == nil {
		m.operations = map[opKey]uint64{}
		m.latency = map[classKey]shardgroups.Histogram{}
		m.refused = map[protocol.Code]uint64{}
		m.transactions = map[structures.TxnOutcome]uint64{}
	}
	for o, n := range g.Transactions {
		m.transactions[structures.TxnOutcome(o)] += n
	}
	for _, o := range g.Operations {
		m.operations[opKey{o.Kind, o.Op}] += o.Count
	}
	for _, l := range g.Latency {
		key := classKey{l.Kind, l.Class}
		m.latency[key] = m.latency[key].Plus(l.Time)
	}
	for code, n := range g.Refused {
		m.refused[code] += n
	}
	m.transactionSizes = m.transactionSizes.Plus(g.TransactionSizes)
	m.sizes, m.replicate, m.apply = m.sizes.Plus(g.EntrySizes), m.replicate.Plus(g.Replicate), m.apply.Plus(g.Apply)
}

// show adds the sums to out. Kinds and operations that do not exist, which were
// refused, share one label: clients choose those numbers, and must not add labels.
func (m *meters) show(out web.Metrics, kinds *groupstate.Kinds) {
	control := structures.Control()
	describe := func(id protocol.KindID, op protocol.Op) (kind, operation string) {
		k := kinds[id]
		if id == protocol.KindControl {
			k = &control
		}
		if k == nil {
			return unknownLabel, unknownLabel
		}
		return k.Name, cmp.Or(k.OpName(op), unknownLabel)
	}
	operations := map[[2]string]uint64{}
	for key, n := range m.operations {
		kind, op := describe(key.kind, key.op)
		operations[[2]string{kind, op}] += n
	}
	for labels, n := range operations {
		out.Add("operations_total", float64(n), labels[0], labels[1])
	}
	for o, n := range m.transactions {
		out.Add("transactions_total", float64(n), o.String())
	}
	for key, h := range m.latency {
		kind, _ := describe(key.kind, 0)
		addHistogram(out, "operation_seconds", h, seconds, kind, key.class.String())
	}
	addHistogram(out, "transaction_operations", m.transactionSizes, 1)
	addHistogram(out, "entry_requests", m.sizes, 1)
	addHistogram(out, "entry_replicate_seconds", m.replicate, seconds)
	addHistogram(out, "entry_apply_seconds", m.apply, seconds)
}

// unknownLabel is the label of kinds and operations that do not exist.
const unknownLabel = "unknown"

const seconds = 1e-9 // a nanosecond

func addHistogram(out web.Metrics, name string, h shardgroups.Histogram, unit float64, labels ...string) {
	if h.Counts == nil {
		return
	}
	bounds := make([]float64, len(h.Bounds))
	for i, b := range h.Bounds {
		bounds[i] = float64(b) * unit
	}
	out.AddHistogram(name, bounds, h.Counts, float64(h.Sum)*unit, labels...)
}

// addProcess adds the memory, CPU time and disk that the process uses.
func (m *Member) addProcess(out web.Metrics) {
	s := m.memoryStatus()
	out.Add("memory_used_bytes", float64(s.Used))
	if s.Limit > 0 {
		out.Add("memory_limit_bytes", float64(s.Limit))
	}
	announced := m.coordinator.StateOf(m.coordinator.Member().Incarnation)
	out.Add("full", boolean(announced.MemoryFull), "memory")
	out.Add("full", boolean(announced.DiskFull), "disk")
	if m.cfg.Durability == Memory {
		return
	}
	if d := m.diskState.Load(); d.Size > 0 {
		out.Add("disk_free_bytes", float64(d.Free))
		out.Add("disk_size_bytes", float64(d.Size))
		out.Add("disk_level", float64(d.Level))
	}
}

// addWatches adds what the hubs of this member's groups say together.
func addWatches(out web.Metrics, s *hub.Stats) {
	out.Add("watches", float64(s.Watches-s.Rows), "entries")
	out.Add("watches", float64(s.Rows), "row")
	out.Add("watches_behind", float64(s.Behind))
	out.Add("watch_lag_revisions", float64(s.Lag))
	addHistogram(out, "watch_delay_seconds", s.Delay, seconds)
	out.Add("watch_events_total", float64(s.Events))
	out.Add("watch_bytes_total", float64(s.Bytes))
	out.Add("watch_frames_total", float64(s.Frames))
	out.Add("watch_syncs_total", float64(s.Syncs))
	for reason, n := range s.Gaps {
		out.Add("watch_gaps_total", float64(n), reason)
	}
}
