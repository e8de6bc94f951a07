package conform_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/conform"
	"github.com/quorate/quorate/protocol"
)

// mini performs the tasks with the least that a client can do: it has one
// connection to one member, which routes for it, one slot, and one call in flight.
// Its fault breaks one rule.
type mini struct{ fault string }

// The kinds and operations that the tasks need.
const (
	mapKind       protocol.KindID = 1
	counterKind   protocol.KindID = 2
	semaphoreKind protocol.KindID = 3
	queueKind     protocol.KindID = 4

	mapGet           protocol.Op = 1
	mapPut           protocol.Op = 2
	counterGet       protocol.Op = 1
	counterAdd       protocol.Op = 3
	semaphoreAcquire protocol.Op = 2
	semaphoreRelease protocol.Op = 4
	queueOffer       protocol.Op = 2
	queueTake        protocol.Op = 3
)

// miniClient is one run of it.
type miniClient struct {
	fault     string
	ctx       context.Context
	endpoints []string
	id        protocol.UUID
	mu        sync.Mutex // guards nc against interrupt
	nc        net.Conn
	frames    *protocol.FrameReader
	next      uint64
	session   protocol.SessionID
	ttl       time.Duration
	keys      int // bytes that a key may have
	sequence  uint64
	acked     time.Time // when the last heartbeat that was acknowledged was sent; zero: members keep the session
	beat      time.Time // when the last was sent
	leaving   bool
}

var (
	errRefused = errors.New("refused")
	errUnknown = errors.New("outcome unknown")
	errLost    = errors.New("what was held is lost")
	errCodec   = errors.New("another codec")
	errNone    = errors.New("nothing was taken")
)

func (m mini) Start(ctx context.Context, endpoints []string) (conform.Client, error) {
	c := &miniClient{fault: m.fault, ctx: ctx, endpoints: slices.Clone(endpoints)}
	rand.Read(c.id[:])
	return pipes(func(in io.Reader, out io.Writer) error {
		tasks := make(chan string)
		go func() {
			defer close(tasks)
			for lines := bufio.NewScanner(in); lines.Scan(); {
				tasks <- lines.Text()
			}
		}()
		defer context.AfterFunc(ctx, c.interrupt)()
		defer func() {
			c.disconnect()
			for range tasks { // until the tool ends
			}
		}()
		for {
			select {
			case task, ok := <-tasks:
				if !ok {
					return nil
				}
				if _, err := fmt.Fprintln(out, c.reply(strings.Split(task, " "))); err != nil {
					return err
				}
			case <-time.After(time.Second):
				c.lives()
			}
		}
	}), nil
}

// strict reports whether the client takes only what this version writes.
func (c *miniClient) strict() bool {
	return c.is("knows no later version") || c.is("knows no earlier version")
}

func (c *miniClient) reply(task []string) string {
	result, err := c.perform(task[0], task[1:])
	switch {
	case c.is("mumbles"):
		return result
	case err == nil:
		return strings.TrimSuffix("ok "+result, " ")
	case errors.Is(err, errNone):
		return "none"
	case errors.Is(err, errUnknown):
		return "unknown"
	case errors.Is(err, errLost):
		return "lost"
	case errors.Is(err, errRefused):
		return "refused"
	}
	return "failed " + err.Error()
}

func (c *miniClient) is(fault string) bool { return c.fault == fault }

func (c *miniClient) perform(what string, args []string) (string, error) {
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(args[i], 10, 64)
		return n
	}
	switch what {
	case "add":
		r, err := c.call(protocol.Request{Kind: counterKind, Op: counterAdd, Name: args[0], Body: protocol.AppendInts(nil, number(1))})
		var sum int64
		if !c.is("reads no results") {
			_ = protocol.ReadInts(r.Body, &sum)
		}
		return fmt.Sprint(sum), err
	case "add-many":
		var sum string
		for range number(2) {
			var err error
			if sum, err = c.perform("add", args[:2]); err != nil {
				return "", err
			}
		}
		return sum, nil
	case "get":
		r, err := c.call(protocol.Request{Kind: counterKind, Op: counterGet, Flags: protocol.FlagRead, Name: args[0], Body: protocol.AppendArray(nil, 0)})
		var n int64
		_ = protocol.ReadInts(r.Body, &n)
		return fmt.Sprint(n), err
	case "put":
		if err := c.connect(); err != nil {
			return "", err
		}
		if len(args[1]) > c.keys && !c.is("sends what is too large") {
			return "", errRefused
		}
		b := protocol.AppendArray(nil, 3)
		b = protocol.AppendBytes(b, append([]byte{1}, args[1]...))
		value := append([]byte{3}, args[2]...)
		if c.is("writes no codec") {
			value = value[1:]
		}
		b = protocol.AppendBytes(b, value)
		_, err := c.call(protocol.Request{Kind: mapKind, Op: mapPut, Name: args[0], Body: protocol.AppendInt(b, 0)})
		return "", err
	case "look-up":
		r, err := c.call(protocol.Request{
			Kind: mapKind, Op: mapGet, Flags: protocol.FlagRead, Name: args[0],
			Body: protocol.AppendBytes(protocol.AppendArray(nil, 1), append([]byte{1}, args[1]...)),
		})
		if err != nil {
			return "", err
		}
		return c.text(r.Body)
	case "offer":
		_, err := c.call(protocol.Request{
			Kind: queueKind, Op: queueOffer, Name: args[0],
			Body: protocol.AppendBytes(protocol.AppendArray(nil, 1), append([]byte{3}, args[1]...)),
		})
		return "", err
	case "take", "give-up":
		q := protocol.Request{Kind: queueKind, Op: queueTake, Flags: protocol.FlagWait, Name: args[0]}
		wait, until := number(1), time.Time{}
		if what == "give-up" {
			until, wait = time.Now().Add(time.Duration(wait)*time.Millisecond), 0
		}
		q.Body = protocol.AppendInts(nil, wait, 0)
		return c.take(q, until)
	case "hold":
		return "", c.hold(args[0], time.Duration(number(1))*time.Millisecond)
	}
	return "", fmt.Errorf("unknown task %q", what)
}

// text reads the first element of a result, a text in CBOR.
func (c *miniClient) text(body []byte) (string, error) {
	b := protocol.NewReader(body)
	if b.ArrayLen() == 0 {
		return "", errNone
	}
	v := b.Bytes()
	if len(v) == 0 || v[0] != 1 && !c.is("guesses codecs") {
		return "", errCodec
	}
	b = protocol.NewReader(v[1:])
	return b.String(), nil
}

func (c *miniClient) take(q protocol.Request, until time.Time) (string, error) {
	r, err := c.callUntil(&q, until)
	if err != nil {
		return "", err
	}
	k := protocol.Request{Kind: protocol.KindControl, Op: protocol.OpConfirm, Name: q.Name, Caller: q.Caller}
	switch {
	case r.Code == protocol.CodeUnknown: // given up
		for k.Op = protocol.OpCancel; ; {
			a, ok := c.try(&k, 500*time.Millisecond)
			if ok && a.Code == protocol.CodeOK && !c.is("loses what it took") {
				return c.text(a.Body)
			}
			if ok && a.Code.Class() != protocol.ClassNotEntered || c.is("does not repeat a cancel") || c.ctx.Err() != nil {
				return "", errNone
			}
		}
	case r.Code != protocol.CodeReserved || c.is("does not confirm"):
	default:
		for {
			if a, ok := c.try(&k, 500*time.Millisecond); ok && a.Code.Class() != protocol.ClassNotEntered || c.ctx.Err() != nil {
				break
			}
		}
	}
	if r.Code != protocol.CodeOK && r.Code != protocol.CodeReserved {
		return "", errNone
	}
	return c.text(r.Body)
}

func (c *miniClient) hold(name string, d time.Duration) error {
	if err := c.heartbeat(); err != nil {
		return err
	}
	r, err := c.call(protocol.Request{Kind: semaphoreKind, Op: semaphoreAcquire, Flags: protocol.FlagWait, Name: name, Body: protocol.AppendString(protocol.AppendInt(protocol.AppendInt(protocol.AppendArray(nil, 3), 1), 0), "")})
	if err != nil {
		return err
	}
	b := protocol.NewReader(r.Body)
	b.ArrayLen()
	held := b.Uint()
	for end := time.Now().Add(d); time.Now().Before(end) && c.ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(c.beat) > c.ttl/5 && !c.is("sends no heartbeats") {
			_ = c.heartbeat() // the time that has passed decides
		}
		if time.Since(c.acked) > c.ttl-c.ttl/32-500*time.Millisecond && !c.is("holds on for ever") && !c.is("sends no heartbeats") {
			return errLost
		}
	}
	if c.is("does not release") {
		return nil
	}
	_, err = c.call(protocol.Request{Kind: semaphoreKind, Op: semaphoreRelease, Name: name, Body: protocol.AppendUint(protocol.AppendArray(nil, 1), held)})
	return err
}

// heartbeat sends one and waits for its answer.
func (c *miniClient) heartbeat() error {
	if err := c.connect(); err != nil {
		return err
	}
	c.next++
	sent := time.Now()
	c.beat = sent
	c.send(protocol.Encode(protocol.SessionRequest{Type: protocol.TypeSession, ID: c.next, Action: protocol.SessionHeartbeat, Session: c.session}))
	r, ok := c.await(c.next, 500*time.Millisecond)
	if !ok || r.Code != protocol.CodeOK {
		return errLost
	}
	c.acked = sent
	return nil
}

// lives lets the member know that the client lives.
func (c *miniClient) lives() {
	if !c.is("says nothing") {
		c.send(protocol.Encode(protocol.TableRequest{Type: protocol.TypeTableRequest}))
	}
}

func (c *miniClient) call(q protocol.Request) (protocol.Reply, error) {
	return c.callUntil(&q, time.Time{})
}

// callUntil makes attempts until one is answered for good, or it is time to give up
// a call that waits: then its code is that of an unknown outcome.
func (c *miniClient) callUntil(q *protocol.Request, until time.Time) (protocol.Reply, error) {
	mayHaveEntered, named := false, false
	for c.ctx.Err() == nil {
		if err := c.connect(); err != nil {
			return protocol.Reply{}, err
		}
		if q.Flags&protocol.FlagRead == 0 && (!named || c.is("gives repeats another identity")) {
			if named = true; !c.is("uses a sequence twice") || c.sequence == 0 {
				c.sequence++
			}
			q.Caller = protocol.Caller{Session: c.session, Sequence: c.sequence}
			if c.is("says too little of its slots") {
				q.Caller.Slot = 3
			} else {
				q.Highest = q.Caller.Slot
			}
		}
		wait := 500 * time.Millisecond
		if q.Flags&protocol.FlagWait != 0 {
			if wait = 5 * time.Second; c.is("does not repeat what waits") {
				wait = time.Hour
			}
			if !until.IsZero() {
				wait = min(wait, time.Until(until))
			}
		}
		r, ok := c.try(q, wait)
		class := r.Code.Class()
		switch {
		case !ok && !until.IsZero() && time.Now().After(until):
			return protocol.Reply{Code: protocol.CodeUnknown}, nil
		case !ok:
			mayHaveEntered = true
			if c.is("goes on without an answer") {
				return protocol.Reply{}, nil
			}
		case r.Code == protocol.CodeReplyDropped:
			return r, errUnknown
		case r.Code == protocol.CodeSessionEnded:
			if mayHaveEntered && !c.is("goes on under another session") {
				if c.is("knows no unknown outcome") {
					return r, errRefused
				}
				return r, errUnknown
			}
			c.disconnect()
			c.session, c.sequence, named = 0, 0, false
			q.Flags &^= protocol.FlagRepeat
			continue
		case class == protocol.ClassNotEntered && c.is("gives up at once"):
			return r, errRefused
		case class == protocol.ClassNotEntered:
			if !c.is("never pauses") {
				time.Sleep(20 * time.Millisecond)
			}
		case class == protocol.ClassUnknown:
			mayHaveEntered = true
		case class == protocol.ClassRefused && r.Code != protocol.CodeTimedOut:
			if c.is("insists") && q.Flags&protocol.FlagRepeat == 0 {
				break
			}
			return r, errRefused
		default:
			return r, nil
		}
		if q.Flags&protocol.FlagRead == 0 && !c.is("hides repeats") && !c.is("gives repeats another identity") {
			q.Flags |= protocol.FlagRepeat
			if c.is("changes repeats") {
				q.Body = protocol.AppendInts(nil, 2)
			}
		}
	}
	return protocol.Reply{}, c.ctx.Err()
}

// try makes one attempt.
func (c *miniClient) try(q *protocol.Request, wait time.Duration) (protocol.Reply, bool) {
	if c.connect() != nil {
		return protocol.Reply{}, false
	}
	c.next++
	q.ID = c.next
	b := q.Append(nil)
	if c.is("writes long integers") { // the ID with a byte too many
		b = append([]byte{b[0], b[1], 24}, b[2:]...)
	}
	c.send(b)
	if c.is("sends everything twice") && q.Flags&protocol.FlagRepeat == 0 {
		again := *q
		again.ID, again.Flags = q.ID+1<<32, q.Flags|protocol.FlagRepeat
		c.send(again.Append(nil))
	}
	for range 100 {
		if c.is("asks for tables all the time") {
			c.send(protocol.Encode(protocol.TableRequest{Type: protocol.TypeTableRequest}))
		}
	}
	return c.await(q.ID, wait)
}

func (c *miniClient) send(b []byte) {
	if c.nc != nil {
		_, _ = c.nc.Write(protocol.EndFrame(append(protocol.BeginFrame(nil), b...), 0)) // reading tells
	}
}

// await waits for an answer.
func (c *miniClient) await(id uint64, wait time.Duration) (protocol.Reply, bool) {
	if c.nc == nil {
		return protocol.Reply{}, false
	}
	end := time.Now().Add(wait)
	for {
		// A deadline in the middle of a frame would lose it.
		if err := c.nc.SetReadDeadline(end); err != nil {
			c.disconnect()
			return protocol.Reply{}, false
		}
		b, err := c.frames.Next()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return protocol.Reply{}, false
		}
		if err != nil {
			c.disconnect()
			return protocol.Reply{}, false
		}
		switch protocol.PeekType(b) {
		case protocol.TypeGoodbye:
			c.leaving = !c.is("does not part")
		case protocol.TypeReply:
			var r protocol.Reply
			if r.Decode(b) != nil || c.strict() && !bytes.Equal(r.Append(nil), b) {
				c.disconnect()
				return protocol.Reply{}, false
			}
			if r.ID == id {
				r.Body = bytes.Clone(r.Body)
				if c.leaving {
					c.disconnect()
				}
				return r, true
			}
		}
	}
}

// interrupt ends whatever waits for the connection.
func (c *miniClient) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc != nil {
		c.nc.Close()
	}
}

func (c *miniClient) disconnect() {
	c.interrupt()
	c.mu.Lock()
	c.nc, c.leaving = nil, false
	c.mu.Unlock()
	c.endpoints = append(c.endpoints[1:], c.endpoints[0])
}

// connect greets a member, if there is no connection, until there is a session.
func (c *miniClient) connect() error {
	for try := 0; c.nc == nil || c.session == 0; try++ {
		if try > 0 {
			time.Sleep(20 * time.Millisecond)
		}
		if c.strict() && try > 3 {
			return errRefused
		}
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if c.nc != nil {
			c.disconnect()
		}
		nc, err := net.Dial("tcp", c.endpoints[0])
		if err != nil {
			c.disconnect()
			continue
		}
		c.mu.Lock()
		c.nc, c.frames = nc, protocol.NewFrameReader(nc, protocol.MaxFrame)
		c.mu.Unlock()
		h := protocol.NewHello(c.id, "mini")
		if c.is("changes its name") {
			rand.Read(h.Client[:])
		}
		h.Flags, h.SessionTTL = protocol.HelloForward|protocol.HelloRoute|protocol.HelloNoTables, 20000
		if c.is("routes to partition 0") {
			h.Flags = protocol.HelloForward
		}
		_, _ = nc.Write(protocol.AppendPreface(nil, protocol.PurposeClient)) // reading tells
		if !c.is("does not greet") {
			c.send(protocol.Encode(h))
		}
		_ = nc.SetReadDeadline(time.Now().Add(3 * time.Second))
		b, err := c.frames.Next()
		if c.is("does not greet") {
			c.session = 2
			continue
		}
		var w protocol.Welcome
		if err != nil || protocol.Decode(b, &w) != nil || c.strict() && !bytes.Equal(protocol.Encode(w), b) || w.Version != 1 && !c.is("takes any version") {
			c.disconnect()
			continue
		}
		if c.keys = int(w.Limits.Key); c.is("knows the limits by heart") {
			c.keys = 4096
		}
		if c.is("makes sessions up") {
			w.Session = 1000
		}
		c.session, c.ttl = w.Session, time.Duration(w.SessionTTL)*time.Millisecond
	}
	return nil
}

// TestMini: a client with one slot, no table, no hash and hardly a thought keeps the
// rules of every level that it speaks.
func TestMini(t *testing.T) {
	for _, k := range conform.Cases(conform.Holding) {
		t.Run(k, func(t *testing.T) {
			t.Parallel()
			passes(t, mini{}, k)
		})
	}
}

// wrongClient is a client that breaks a rule.
type wrongClient struct {
	fault, at string
	rule      conform.Rule
}

var wrong = []wrongClient{
	{"writes long integers", "calls", conform.RuleForm},
	{"changes its name", "cut", conform.RuleHello},
	{"does not greet", "calls", conform.RuleHello},
	{"takes any version", "another-version", conform.RuleVersion},
	{"knows no later version", "more-elements", conform.RuleGrowth},
	{"knows no earlier version", "fewer-elements", conform.RuleGrowth},
	{"sends what is too large", "too-large", conform.RuleLimits},
	{"knows the limits by heart", "too-large", conform.RuleLimits},
	{"routes to partition 0", "calls", conform.RuleRouting},
	{"asks for tables all the time", "calls", conform.RuleTable},
	{"does not part", "goodbye", conform.RuleGoodbye},
	{"gives up at once", "code-3", conform.RuleCodes},
	{"insists", "code-70", conform.RuleRefused},
	{"sends everything twice", "late-replies", conform.RuleAttempts},
	{"never pauses", "no-leader", conform.RulePause},
	{"gives repeats another identity", "swallowed-requests", conform.RuleIdentity},
	{"goes on under another session", "session-ended-unknown", conform.RuleIdentity},
	{"goes on without an answer", "swallowed-requests", conform.RuleSequence},
	{"says too little of its slots", "calls", conform.RuleHighest},
	{"hides repeats", "swallowed-replies", conform.RuleRepeat},
	{"changes repeats", "swallowed-replies", conform.RuleRepeat},
	{"gives repeats another identity", "swallowed-replies", conform.RuleExactlyOnce},
	{"uses a sequence twice", "calls", conform.RuleExactlyOnce},
	{"knows no unknown outcome", "session-ended-unknown", conform.RuleOutcome},
	{"reads no results", "calls", conform.RuleResult},
	{"writes no codec", "values", conform.RuleCodec},
	{"guesses codecs", "unknown-codec", conform.RuleCodec},
	{"makes sessions up", "calls", conform.RuleSession},
	{"says nothing", "kept-alive", conform.RuleHeartbeat},
	{"sends no heartbeats", "hold-long", conform.RuleHeartbeat},
	{"does not repeat what waits", "take-repeated", conform.RuleWaiting},
	{"does not repeat a cancel", "give-up", conform.RuleCancel},
	{"loses what it took", "give-up-taken", conform.RuleCancel},
	{"does not confirm", "take", conform.RuleConfirm},
	{"does not release", "hold", conform.RuleRelease},
	{"holds on for ever", "hold-lost", conform.RuleRelease},
	{"mumbles", "calls", conform.RuleDriver},
}

// TestWrongClients: each rule is broken by a client, and seen to be.
func TestWrongClients(t *testing.T) {
	for _, rule := range conform.Rules() {
		if !slices.ContainsFunc(wrong, func(w wrongClient) bool { return w.rule == rule.Rule }) {
			t.Errorf("no client breaks the rule %q", rule.Rule)
		}
	}
	for _, w := range wrong {
		t.Run(w.fault+"/"+w.at, func(t *testing.T) {
			t.Parallel()
			results, err := conform.Run(t.Context(), conform.Options{
				Listen: "127.0.0.1:0", Cases: []string{w.at}, Driver: mini{w.fault}, Limit: 20 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			if broken := results[0].Broken; !slices.ContainsFunc(broken, func(f conform.Finding) bool { return f.Rule == w.rule }) {
				t.Errorf("a client that %s: %v, want a finding of the rule %q", w.fault, broken, w.rule)
			}
		})
	}
}
