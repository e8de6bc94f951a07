package shardgroups

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/histogram"
	"github.com/quorate/quorate/structures"
)

// Class is how an operation was carried out, for measurements.
type Class uint8

// The classes of operations.
const (
	ClassRead  Class = iota
	ClassWrite       // answered when its entry was applied
	ClassWait        // answered by a later grant; its time is that of waiting
	numClasses
)

// String returns the class's name as metrics have it.
func (c Class) String() string {
	switch c {
	case ClassRead:
		return "read"
	case ClassWrite:
		return "write"
	default:
		return "wait"
	}
}

// meter counts what a group has answered since it was started here. Only one or two
// goroutines at a time answer a group's requests, so each group's own atomic counters
// cost next to nothing. Readers add them up.
type meter struct {
	kinds   [256]*kindMeter // nil: not a kind
	refused [protocol.NumCodes]atomic.Uint64

	transactions [numOutcomes]atomic.Uint64 // by outcome
	operations   histogram.Recorder         // carried out by a transaction

	entrySizes histogram.Recorder // requests an entry
	replicate  histogram.Recorder // from proposing an entry to its turn to be applied here
	apply      histogram.Recorder // one call of Update
}

// kindMeter counts the operations of one kind of structure.
type kindMeter struct {
	ops     [256]atomic.Uint64
	latency [numClasses]histogram.Recorder
}

// Histogram is what was counted, by powers of two.
type Histogram = histogram.Histogram

// Meters is what a group has counted since it was started here.
type Meters struct {
	Operations []OperationCount
	Latency    []LatencyOf // nanoseconds from arrival to answer
	Refused    map[protocol.Code]uint64
	// Transactions are how many were carried out or refused, by outcome.
	Transactions [numOutcomes]uint64
	// TransactionSizes are the operations that a transaction has carried out.
	TransactionSizes Histogram

	EntrySizes Histogram // requests an entry
	Replicate  Histogram // nanoseconds from proposing an entry to its turn to be applied
	Apply      Histogram // nanoseconds of applying the entries that came together
}

// OperationCount says how often an operation was answered: carried out, or
// refused for good.
type OperationCount struct {
	Kind  protocol.KindID
	Op    protocol.Op
	Count uint64
}

// LatencyOf is the latency of a kind's operations of one class.
type LatencyOf struct {
	Kind  protocol.KindID
	Class Class
	Time  Histogram
}

// Meters returns what the group has counted. What was never counted is left
// out.
func (g *Group) Meters() Meters {
	m := &g.meter
	r := Meters{
		Refused:    map[protocol.Code]uint64{},
		EntrySizes: m.entrySizes.Read(histogram.SizeLow), TransactionSizes: m.operations.Read(histogram.SizeLow), Replicate: m.replicate.Read(histogram.LatencyLow), Apply: m.apply.Read(histogram.LatencyLow),
	}
	for id, k := range m.kinds {
		if k == nil {
			continue
		}
		for op := range k.ops {
			if n := k.ops[op].Load(); n > 0 {
				r.Operations = append(r.Operations, OperationCount{protocol.KindID(id), protocol.Op(op), n})
			}
		}
		for c := range k.latency {
			if h := k.latency[c].Read(histogram.LatencyLow); h.Count() > 0 {
				r.Latency = append(r.Latency, LatencyOf{protocol.KindID(id), Class(c), h})
			}
		}
	}
	for c := range m.refused {
		if n := m.refused[c].Load(); n > 0 {
			r.Refused[protocol.Code(c)] = n
		}
	}
	for o := range m.transactions {
		r.Transactions[o] = m.transactions[o].Load()
	}
	return r
}

// numOutcomes is how many outcomes transactions have.
const numOutcomes = int(structures.TxnElseRefused) + 1

// transaction counts the outcome of one that was applied.
func (m *meter) transaction(r *protocol.Reply) {
	if o, ok := structures.TxnOutcomeOf(r.Body); ok && r.Code == protocol.CodeOK {
		m.transactions[o].Add(1)
		if n := structures.TxnOperations(r.Body); n > 0 {
			m.operations.Observe(uint64(n), histogram.SizeLow)
		}
	}
}

// measure counts an answer and returns how long it took since the request
// arrived.
func (g *Group) measure(q *Request, c Class, code protocol.Code, now time.Time) time.Duration {
	took := now.Sub(q.Arrived)
	if int(code) < protocol.NumCodes && code != protocol.CodeOK && code != protocol.CodeReserved {
		g.meter.refused[code].Add(1)
	}
	if class := code.Class(); class == protocol.ClassNotEntered || class == protocol.ClassUnknown {
		return 0
	}
	if k := g.meter.kinds[q.Kind]; k != nil {
		k.ops[q.Op].Add(1)
		k.latency[c].ObserveTime(took)
	}
	return took
}

// logInterval is the least time between two log lines about something that may happen
// with every request: a slow disk makes all requests slow, and one line is enough.
const logInterval = time.Second

// logLimit bounds how often something is logged.
type logLimit struct {
	mu   sync.Mutex // guards what follows
	last time.Time
	more int // that were not logged since
}

// allows reports whether something may be logged now, and how often it was suppressed
// since the last line.
func (l *logLimit) allows(now time.Time) (more int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.last) < logInterval {
		l.more++
		return 0, false
	}
	more = l.more
	l.last, l.more = now, 0
	return more, true
}

// slowLog logs operations that took longer than they should. A nil slowLog logs
// none.
type slowLog struct {
	limit time.Duration
	log   *slog.Logger
	count atomic.Uint64
	rate  logLimit
}

// stages are the times at which a request went from one stage to the next.
type stages struct {
	left    time.Time // the queue
	began   time.Time // to be applied, or to be read: a majority has agreed
	applied time.Time
}

func (l *slowLog) is(took time.Duration) bool { return l != nil && took >= l.limit }

// warn logs a request, unless another was logged a moment ago.
func (l *slowLog) warn(g *Group, q *Request, s stages) {
	l.count.Add(1)
	more, ok := l.rate.allows(s.applied)
	if !ok {
		return
	}
	kind, op := "control", ""
	if k := g.kinds[q.Kind]; k != nil {
		kind, op = k.Name, k.OpName(q.Op)
	}
	l.log.Warn("slow operation",
		"kind", kind, "name", strings.Clone(q.Name), "op", op, "group", uint64(g.id), "partition", uint64(q.Partition),
		"term", g.Leader().Term, "took", s.applied.Sub(q.Arrived).Round(time.Microsecond),
		"queued", s.left.Sub(q.Arrived).Round(time.Microsecond),
		"replicated", s.began.Sub(s.left).Round(time.Microsecond),
		"applied", s.applied.Sub(s.began).Round(time.Microsecond),
		"suppressed", more)
}
