package quorate_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// errorRows provokes each row of the table in doc.go. A function returns
// whether the call has changed anything, and its error.
var errorRows = map[string]struct {
	is      error
	provoke func(*testing.T, *errorGrid) (changed bool, err error)
}{
	"ErrUnavailable":    {quorate.ErrUnavailable, provokeUnavailable},
	"ErrOutcomeUnknown": {quorate.ErrOutcomeUnknown, provokeOutcomeUnknown},
	"ErrSessionLost":    {quorate.ErrSessionLost, provokeSessionLost},
	"ErrGridLost":       {quorate.ErrGridLost, provokeGridLost},
	"ErrClosed":         {quorate.ErrClosed, provokeClosed},
	"ErrTooLarge":       {quorate.ErrTooLarge, provokeTooLarge},
	"ErrOverloaded":     {quorate.ErrOverloaded, provokeOverloaded},
	"ErrReadOnly":       {quorate.ErrReadOnly, provokeCode(protocol.CodeReadOnly)},
	"ErrMemoryFull":     {quorate.ErrMemoryFull, provokeCode(protocol.CodeMemoryFull)},
	"ErrCodec":          {quorate.ErrCodec, provokeCodec},
	"ErrSettings":       {quorate.ErrSettings, provokeSettings},
	"ErrDestroyed":      {quorate.ErrDestroyed, provokeDestroyed},
	"ErrInvalid":        {quorate.ErrInvalid, provokeInvalid},
	"ErrNotInTime":      {quorate.ErrNotInTime, provokeNotInTime},
	"ErrCompacted":      {quorate.ErrCompacted, provokeCompacted},
	"ErrUnsupported":    {quorate.ErrUnsupported, provokeUnsupported},
}

// TestErrorTable wants of every row that its error can be met, that nothing, or
// perhaps something, has changed as it says, and that SafeToRetry agrees.
func TestErrorTable(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	columns := regexp.MustCompile(`\s{2,}`)
	g := newErrorGrid(t)
	met := map[string]bool{}
	for line := range strings.Lines(string(doc)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "//	Err")
		if !ok {
			continue
		}
		cells := columns.Split(line, 4)
		if len(cells) != 4 {
			t.Fatalf("a row of %d cells: %s", len(cells), line)
		}
		name, may := "Err"+cells[0], cells[2]
		met[name] = true
		row, ok := errorRows[name]
		if !ok {
			t.Errorf("nothing provokes %s", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			changed, err := row.provoke(t, g)
			t.Logf("%v (changed: %t)", err, changed)
			if !errors.Is(err, row.is) {
				t.Fatalf("got %v", err)
			}
			unknown := may == "perhaps"
			if got := errors.Is(err, quorate.ErrOutcomeUnknown); got != unknown {
				t.Errorf("outcome unknown: %t, the table says %q", got, may)
			}
			if got := quorate.SafeToRetry(err); got == unknown {
				t.Errorf("safe to retry: %t, the table says %q", got, may)
			}
			if changed && !unknown {
				t.Errorf("it has changed something, the table says %q", may)
			}
			var e *quorate.Error
			if !errors.As(err, &e) || e.Op == "" || e.Object == "" {
				t.Errorf("it does not say what was done to what: %v", err)
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(errorRows)) {
		if !met[name] {
			t.Errorf("%s has no row", name)
		}
	}
}

// errorGrid is a grid of one member, a client that sees it as it is, and one
// whose connections do what a test says.
type errorGrid struct {
	*gridtest.Cluster
	plain *client.Client
	seam  *seam
	bent  *client.Client
}

func newErrorGrid(t *testing.T) *errorGrid {
	g := &errorGrid{Cluster: gridtest.Start(t, 1), seam: &seam{}}
	g.plain = g.Client(t)
	g.bent = g.Client(t, client.WithDialer(g.seam.dial))
	return g
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// counter returns a counter that is 7, and what tells whether it still is.
func (g *errorGrid) counter(t *testing.T) (name string, changed func() bool) {
	t.Helper()
	name = "hits of " + t.Name()
	hits := dcounter.New(g.plain, name)
	if err := hits.Set(within(t, gridtest.WaitTimeout), 7); err != nil {
		t.Fatal(err)
	}
	return name, func() bool {
		t.Helper()
		n, err := hits.Get(within(t, gridtest.WaitTimeout))
		if err != nil {
			t.Fatal(err)
		}
		return n != 7
	}
}

func provokeUnavailable(t *testing.T, g *errorGrid) (bool, error) {
	name, changed := g.counter(t)
	g.Kill(0)
	g.Eventually("the client sees that the member is gone", func() bool { return g.plain.Stats().Connections == 0 })
	_, err := dcounter.New(g.plain, name).Add(within(t, 200*time.Millisecond), 1)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it is not what ended the context: %v", err)
	}
	g.Restart(0)
	g.WaitReady()
	return changed(), err
}

// provokeOutcomeUnknown loses a request, and then an answer: the caller cannot
// tell the two apart.
func provokeOutcomeUnknown(t *testing.T, g *errorGrid) (bool, error) {
	name, changed := g.counter(t)
	hits := dcounter.New(g.bent, name)
	if _, err := hits.Add(within(t, gridtest.WaitTimeout), 0); err != nil { // has a session
		t.Fatal(err)
	}
	add := func(bend func(*protocol.Request) verdict) error {
		defer g.seam.bend(nil)
		g.seam.bend(bend)
		_, err := hits.Add(within(t, 200*time.Millisecond), 1)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it is not what ended the context: %v", err)
		}
		return err
	}
	lost := add(func(*protocol.Request) verdict { return verdict{swallow: true} })
	if !errors.Is(lost, quorate.ErrOutcomeUnknown) || quorate.SafeToRetry(lost) || changed() {
		t.Errorf("a request that was lost: %v, changed: %t", lost, changed())
	}
	err := add(func(*protocol.Request) verdict { return verdict{deaf: true} })
	if !changed() {
		t.Error("only the answer was lost, and nothing has changed")
	}
	return true, err
}

func provokeSessionLost(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	cl := g.Client(t, client.WithSessionTTL(2*time.Second))
	writers := dsemaphore.New(cl, "writers")
	jobs := dqueue.New[string](cl, "jobs for a lost session")
	if err := writers.Init(ctx, 2); err != nil {
		t.Fatal(err)
	}
	held, err := writers.Acquire(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	took := make(chan error, 1)
	go func() {
		_, err := jobs.Take(ctx)
		took <- err
	}()
	g.Pause(0)
	<-held.Context().Done()
	g.Resume(0)
	if err := <-took; !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("take: %v", err)
	}
	if err := dqueue.New[string](g.plain, "jobs for a lost session").Put(ctx, "j"); err != nil {
		t.Fatal(err)
	}
	if n, err := jobs.Len(ctx); err != nil || n != 1 {
		t.Errorf("the call whose session was lost has taken the job: %d left, %v", n, err)
	}
	err = held.Release(ctx)
	g.Eventually("the permits are free again", func() bool {
		n, err := writers.Available(ctx)
		return err == nil && n == 2
	})
	return false, err
}

// provokeGridLost takes the memory of a grid of one while a call waits for it.
func provokeGridLost(t *testing.T, _ *errorGrid) (bool, error) {
	g := gridtest.Start(t, 1, gridtest.WithDurability(grid.Memory))
	cl := g.Client(t)
	hits := dcounter.New(cl, "hits")
	if err := hits.Set(within(t, gridtest.WaitTimeout), 7); err != nil {
		t.Fatal(err)
	}
	g.Kill(0)
	g.Eventually("the client sees that the member is gone", func() bool { return cl.Stats().Connections == 0 })
	added := make(chan error, 1)
	go func() {
		_, err := hits.Add(within(t, gridtest.WaitTimeout), 1)
		added <- err
	}()
	g.Restart(0)
	err := <-added
	n, getErr := hits.Get(within(t, gridtest.WaitTimeout))
	if getErr != nil {
		t.Fatal(getErr)
	}
	return n != 0, err
}

func provokeClosed(t *testing.T, g *errorGrid) (bool, error) {
	name, changed := g.counter(t)
	cl := g.Client(t)
	if err := cl.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := dcounter.New(cl, name).Add(within(t, gridtest.WaitTimeout), 1)
	return changed(), err
}

func provokeTooLarge(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	limits := g.plain.Limits()
	texts := dmap.New[string, string](g.plain, "texts")
	if err := texts.Put(ctx, "k", "old"); err != nil {
		t.Fatal(err)
	}
	_, err := dcounter.New(g.plain, strings.Repeat("n", int(limits.Name)+1)).Add(ctx, 1)
	if !errors.Is(err, quorate.ErrTooLarge) || !quorate.SafeToRetry(err) {
		t.Errorf("a name: %v", err)
	}
	if err := texts.Put(ctx, strings.Repeat("k", int(limits.Key)+1), ""); !errors.Is(err, quorate.ErrTooLarge) || !quorate.SafeToRetry(err) {
		t.Errorf("a key: %v", err)
	}
	err = texts.Put(ctx, "k", strings.Repeat("v", int(limits.Value)))
	v, _, getErr := texts.Get(ctx, "k")
	if getErr != nil {
		t.Fatal(getErr)
	}
	n, lenErr := texts.Len(ctx)
	if lenErr != nil {
		t.Fatal(lenErr)
	}
	return v != "old" || n != 1, err
}

// provokeOverloaded fills the room a queue has for calls that wait.
func provokeOverloaded(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	blobs := dqueue.New[string](g.plain, "blobs")
	if err := blobs.Configure(ctx, dqueue.Capacity(1)); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Put(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	const puts = 17 // one more than there is room for
	ended := make(chan error, puts)
	for range puts {
		go func() { ended <- blobs.Put(ctx, strings.Repeat("v", 1_000_000)) }()
	}
	err := <-ended
	n, lenErr := blobs.Len(ctx)
	if lenErr != nil {
		t.Fatal(lenErr)
	}
	g.Eventually("the others wait until there is nothing to wait for", func() bool {
		if err := blobs.Destroy(ctx); err != nil {
			t.Fatal(err)
		}
		return len(ended) == puts-1
	})
	return n != 1, err
}

// provokeCode has the grid answer with a code that no member of this version
// gives.
func provokeCode(code protocol.Code) func(*testing.T, *errorGrid) (bool, error) {
	return func(t *testing.T, g *errorGrid) (bool, error) {
		name, changed := g.counter(t)
		g.seam.bend(func(*protocol.Request) verdict { return verdict{answer: code} })
		defer g.seam.bend(nil)
		_, err := dcounter.New(g.bent, name).Add(within(t, gridtest.WaitTimeout), 1)
		return changed(), err
	}
}

func provokeCodec(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	byCBOR := dmap.New[string, string](g.plain, "coded")
	if err := byCBOR.Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	_, _, err := dmap.New[string, string](g.plain, "coded", dmap.Codec(structures.JSON)).Get(ctx, "k")
	v, _, getErr := byCBOR.Get(ctx, "k")
	if getErr != nil {
		t.Fatal(getErr)
	}
	return v != "v", err
}

func provokeSettings(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	narrow := dqueue.New[int](g.plain, "narrow")
	if err := narrow.Configure(ctx, dqueue.Capacity(1)); err != nil {
		t.Fatal(err)
	}
	err := narrow.Configure(ctx, dqueue.Capacity(2))
	for i := range 2 {
		if _, offerErr := narrow.Offer(ctx, i); offerErr != nil {
			t.Fatal(offerErr)
		}
	}
	n, lenErr := narrow.Len(ctx)
	if lenErr != nil {
		t.Fatal(lenErr)
	}
	return n != 1, err
}

func provokeDestroyed(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	jobs := dqueue.New[string](g.plain, "jobs to destroy")
	took := make(chan error, 1)
	go func() {
		_, err := jobs.Take(ctx)
		took <- err
	}()
	g.Eventually("it is destroyed while a call waits", func() bool {
		if err := jobs.Destroy(ctx); err != nil {
			t.Fatal(err)
		}
		return len(took) == 1
	})
	err := <-took
	if err := jobs.Put(ctx, "again"); err != nil {
		t.Errorf("the name cannot be used again: %v", err)
	}
	n, lenErr := jobs.Len(ctx)
	if lenErr != nil {
		t.Fatal(lenErr)
	}
	return n != 1, err
}

// provokeNotInTime waits for less than it takes, in every way that there is.
func provokeNotInTime(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	busy := dqueue.New[string](g.plain, "busy")
	if err := busy.Configure(ctx, dqueue.Capacity(1)); err != nil {
		t.Fatal(err)
	}
	if err := busy.Put(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	idle := dqueue.New[string](g.plain, "idle")
	for what, call := range map[string]func() error{
		"put":        func() error { return busy.Put(ctx, "x", dqueue.Wait(0)) },
		"put all":    func() error { return busy.PutAll(ctx, []string{"x", "y"}, dqueue.Wait(time.Millisecond)) },
		"take":       func() error { _, err := idle.Take(ctx, dqueue.Wait(time.Millisecond)); return err },
		"take many":  func() error { _, err := idle.TakeN(ctx, 3, dqueue.Wait(time.Millisecond)); return err },
		"take now":   func() error { _, err := idle.TakeN(ctx, 3, dqueue.Wait(0)); return err },
		"no permits": func() error { return acquireWithin(ctx, g, time.Millisecond) },
	} {
		if err := call(); !errors.Is(err, quorate.ErrNotInTime) || !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	err := busy.Put(ctx, "x", dqueue.Wait(10*time.Millisecond))
	n, lenErr := busy.Len(ctx)
	if lenErr != nil {
		t.Fatal(lenErr)
	}
	return n != 1, err
}

// provokeCompacted watches from a version whose successors have left the history.
func provokeCompacted(t *testing.T, g *errorGrid) (bool, error) {
	ctx := t.Context()
	m := dmap.New[string, []byte](g.plain, "{old}m")
	for range 25 {
		if err := m.Put(ctx, "large", make([]byte, 900<<10)); err != nil {
			t.Fatal(err)
		}
	}
	for e, err := range m.Watch(ctx, dmap.Prefix("{old}"), dmap.AfterVersion(1)) {
		if err != nil {
			return false, err
		}
		t.Logf("%v", e.Type)
	}
	return false, nil
}

// acquireWithin asks for a permit that somebody else holds.
func acquireWithin(ctx context.Context, g *errorGrid, d time.Duration) error {
	taken := dsemaphore.New(g.plain, "taken")
	if err := taken.Init(ctx, 1); err != nil {
		return err
	}
	held, err := taken.Acquire(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { _ = held.Release(ctx) }()
	_, err = taken.Acquire(ctx, 1, dsemaphore.Wait(d))
	return err
}

// The operations of a counter that no handle sends like this.
const (
	counterAdd     protocol.Op = 3
	counterUnknown protocol.Op = 200
)

func provokeInvalid(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	name, changed := g.counter(t)
	if _, err := dcounter.New(g.plain, "").Add(ctx, 1); !errors.Is(err, quorate.ErrInvalid) || !quorate.SafeToRetry(err) {
		t.Errorf("a name: %v", err)
	}
	if err := dmap.New[string, int](g.plain, "m").Put(ctx, "k", 1, dmap.TTL(time.Millisecond)); !errors.Is(err, quorate.ErrInvalid) || !quorate.SafeToRetry(err) {
		t.Errorf("an option: %v", err)
	}
	// What no handle sends the member refuses.
	kind := dcounter.Kind()
	_, err := g.plain.Invoke(ctx, structures.Call{
		Kind: kind.ID, Op: counterAdd, Verb: "add", Label: kind.Name, Name: name,
		Partition: g.plain.Partition(name, nil), Body: []byte{0xff},
	})
	return changed(), err
}

func provokeUnsupported(t *testing.T, g *errorGrid) (bool, error) {
	ctx := within(t, gridtest.WaitTimeout)
	name, changed := g.counter(t)
	call := structures.Call{
		Kind: dcounter.Kind().ID, Op: counterUnknown, Verb: "square", Label: "counter", Name: name,
		Partition: g.plain.Partition(name, nil),
	}
	if _, err := g.plain.Invoke(ctx, call); !errors.Is(err, quorate.ErrUnsupported) || !quorate.SafeToRetry(err) {
		t.Errorf("an operation: %v", err)
	}
	call.Kind = 99
	_, err := g.plain.Invoke(ctx, call)
	return changed(), err
}

// seam opens connections through which frames pass one by one, so that a test
// can lose or answer requests.
type seam struct {
	mu    sync.Mutex
	bends func(*protocol.Request) verdict
}

// verdict is what becomes of a request; the zero verdict passes it on.
type verdict struct {
	swallow bool          // it is lost
	deaf    bool          // it is passed on, its answer is lost
	answer  protocol.Code // it is answered here
}

func (s *seam) bend(f func(*protocol.Request) verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bends = f
}

func (s *seam) judge(frame []byte) (q protocol.Request, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bends != nil && protocol.PeekType(frame) == protocol.TypeRequest && q.Decode(frame) == nil {
		v = s.bends(&q)
	}
	return q, v
}

func (s *seam) dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	member, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	p := &passage{seam: s, near: far, member: member, deaf: map[uint64]bool{}}
	go p.run(p.requests)
	go p.run(p.replies)
	return near, nil
}

// passage is one connection of a seam.
type passage struct {
	seam         *seam
	near, member net.Conn

	mu   sync.Mutex // guards writing to near, and deaf
	deaf map[uint64]bool
}

func (p *passage) run(pass func() error) {
	_ = pass() // the end of one direction is that of both
	p.near.Close()
	p.member.Close()
}

func (p *passage) requests() error {
	purpose, err := protocol.ReadPreface(p.near)
	if err != nil {
		return err
	}
	if _, err := p.member.Write(protocol.AppendPreface(nil, purpose)); err != nil {
		return err
	}
	frames := protocol.NewFrameReader(p.near, protocol.MaxFrame)
	for {
		frame, err := frames.Next()
		if err != nil {
			return err
		}
		q, v := p.seam.judge(frame)
		switch {
		case v.swallow:
			continue
		case v.answer != 0:
			r := protocol.Reply{ID: q.ID, Code: v.answer}
			p.mu.Lock()
			err := writeFrame(p.near, r.Append(nil))
			p.mu.Unlock()
			if err != nil {
				return err
			}
			continue
		case v.deaf:
			p.mu.Lock()
			p.deaf[q.ID] = true
			p.mu.Unlock()
		}
		if err := writeFrame(p.member, frame); err != nil {
			return err
		}
	}
}

func (p *passage) replies() error {
	frames := protocol.NewFrameReader(p.member, protocol.MaxFrame)
	for {
		frame, err := frames.Next()
		if err != nil {
			return err
		}
		var r protocol.Reply
		p.mu.Lock()
		if protocol.PeekType(frame) != protocol.TypeReply || r.Decode(frame) != nil || !p.deaf[r.ID] {
			err = writeFrame(p.near, frame)
		}
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func writeFrame(w io.Writer, message []byte) error {
	_, err := w.Write(protocol.EndFrame(append(protocol.BeginFrame(nil), message...), 0))
	return err
}
