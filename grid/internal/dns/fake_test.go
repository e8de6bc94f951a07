package dns

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/roster"
)

// fake is a grid with services, which tests change by hand.
type fake struct {
	mu       sync.Mutex
	services map[string]chan roster.Change // what comes next
	fails    error
	followed map[string]int // by service: watches that are
}

func newFake() *fake {
	return &fake{services: map[string]chan roster.Change{}, followed: map[string]int{}}
}

// say lets changes come to whoever follows a service. One that was never named has no
// instances.
func (f *fake) say(service string, changes ...roster.Change) {
	f.mu.Lock()
	c := f.services[service]
	if c == nil {
		c = make(chan roster.Change, 20_000)
		f.services[service] = c
	}
	f.mu.Unlock()
	for _, change := range changes {
		c <- change
	}
}

func (f *fake) count(service string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followed[service] += n
}

func (f *fake) watches(service string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.followed[service]
}

func (f *fake) follow(ctx context.Context, name string) iter.Seq2[roster.Change, error] {
	return func(yield func(roster.Change, error) bool) {
		f.count(name, 1)
		defer f.count(name, -1)
		f.mu.Lock()
		c, err := f.services[name], f.fails
		f.mu.Unlock()
		if err != nil {
			yield(roster.Change{}, err)
			return
		}
		if c == nil && !yield(synced, nil) {
			return
		}
		for {
			select {
			case change := <-c:
				if !yield(change, nil) {
					return
				}
			case <-ctx.Done():
				yield(roster.Change{}, ctx.Err())
				return
			}
		}
	}
}

var (
	synced    = roster.Change{Type: structures.EventSynced}
	confirmed = roster.Change{Type: structures.EventProgress}
	gap       = roster.Change{Type: structures.EventGap}
	errAway   = errors.New("the grid is away")
)

// current is an instance that is there.
func current(id, address string, port int, opts ...func(*roster.Entry, *dservice.Instance)) roster.Change {
	e, in := roster.Entry{ID: id, Health: dservice.Passing}, dservice.Instance{Address: address, Port: port}
	for _, o := range opts {
		o(&e, &in)
	}
	e.Data = value(in)
	return roster.Change{Type: structures.EventCurrent, Entry: e}
}

func value(in dservice.Instance) []byte {
	b, err := structures.AppendValue(nil, structures.CBOR, in)
	if err != nil {
		panic(err)
	}
	return b
}

func put(c roster.Change) roster.Change { c.Type = structures.EventPut; return c }

func gone(id string) roster.Change {
	return roster.Change{Type: structures.EventSessionEnded, Entry: roster.Entry{ID: id}}
}

func health(h dservice.Health) func(*roster.Entry, *dservice.Instance) {
	return func(e *roster.Entry, _ *dservice.Instance) { e.Health = h }
}

func drained(e *roster.Entry, _ *dservice.Instance) { e.Drained = true }

func tags(all ...string) func(*roster.Entry, *dservice.Instance) {
	return func(_ *roster.Entry, in *dservice.Instance) { in.Tags = all }
}

// quiet returns a Server that listens nowhere, for tests that call answer.
func quiet(t testing.TB, f *fake) *Server {
	s := newServer(Config{Address: netip.MustParseAddr("192.0.2.1"), Follow: f.follow, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(s.mirrors.close)
	return s
}

// serve returns a Server on loopback, and its address.
func serve(t testing.TB, f *fake) (*Server, string) {
	tcp, udp, err := network.ListenBoth("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Start(Config{
		Listener: tcp, Packets: udp, Address: netip.MustParseAddr("192.0.2.1"), Follow: f.follow,
		Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(s.Close)
	return s, tcp.Addr().String()
}

// question returns a question for a name, "A web.service.quorate.".
func question(text string) *dns.Msg {
	var kind, name string
	if _, err := fmt.Sscan(text, &kind, &name); err != nil {
		panic(err)
	}
	m := new(dns.Msg).SetQuestion(name, dns.StringToType[kind])
	m.RecursionDesired = false
	return m
}

// ask asks a server.
func ask(t testing.TB, transport, address string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: transport, Timeout: 10 * time.Second}
	m, _, err := c.Exchange(q, address)
	if err != nil {
		t.Fatalf("%s over %s: %v", q.Question[0].String(), transport, err)
	}
	return m
}

// code asks a server that listens nowhere, over UDP, and returns the code and how many
// records the answer has.
func code(s *Server, text string) string {
	m := s.answer(question(text), true)
	return fmt.Sprint(rcodes[m.Rcode], " ", len(m.Answer))
}
