package shardgroups

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// logInterval is the least time between two logs of what may come with every
// request: a slow disk makes all of them slow, and one line says it.
const logInterval = time.Second

// logLimit bounds how often something is logged.
type logLimit struct {
	mu   sync.Mutex // guards what follows
	last time.Time
	more int // that were not logged since
}

// allows reports whether something may be logged now, and how often it was not
// since the last time that it was.
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

// slowLog tells of operations that took longer than they should. A nil slowLog
// tells of none.
type slowLog struct {
	limit time.Duration
	log   *slog.Logger
	count atomic.Uint64
	rate  logLimit
}

// stages are when a request went from one stage to the next.
type stages struct {
	left    time.Time // the queue
	began   time.Time // to be applied, or to be read: a majority has agreed
	applied time.Time
}

func (l *slowLog) is(took time.Duration) bool { return l != nil && took >= l.limit }

// tell warns of a request, unless another was told of a moment ago.
func (l *slowLog) tell(g *Group, q *Request, s stages) {
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
