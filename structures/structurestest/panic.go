package structurestest

import (
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// planted is the text of a planted panic.
const planted = "planted"

// panicking is a Machine whose Apply panics at the call of Env that makes left
// fall to 0; where left is 0 from the start, before the first.
type panicking struct {
	structures.Machine
	left  int
	fired bool
}

func (m *panicking) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	if m.left == 0 {
		m.fire()
	}
	return m.Machine.Apply(&panickingEnv{env, m}, op, body)
}

// CheckTest implements structures.Tester.
func (m *panicking) CheckTest(test structures.Test, body []byte) error {
	return m.Machine.(structures.Tester).CheckTest(test, body)
}

// Test implements structures.Tester.
func (m *panicking) Test(view structures.View, test structures.Test, body []byte) bool {
	return m.Machine.(structures.Tester).Test(view, test, body)
}

func (m *panicking) fire() {
	m.fired = true
	panic(planted)
}

// tick counts a call of Env, which has then been carried out.
func (m *panicking) tick() {
	if m.left--; m.left == 0 {
		m.fire()
	}
}

// panickingEnv counts the calls that go through it.
type panickingEnv struct {
	structures.Env
	m *panicking
}

func (e *panickingEnv) Now() protocol.LogTime          { defer e.m.tick(); return e.Env.Now() }
func (e *panickingEnv) Exists() bool                   { defer e.m.tick(); return e.Env.Exists() }
func (e *panickingEnv) Settings() *structures.Settings { defer e.m.tick(); return e.Env.Settings() }
func (e *panickingEnv) Limits() protocol.Limits        { defer e.m.tick(); return e.Env.Limits() }
func (e *panickingEnv) Time() protocol.LogTime         { defer e.m.tick(); return e.Env.Time() }
func (e *panickingEnv) Overdue() int                   { defer e.m.tick(); return e.Env.Overdue() }
func (e *panickingEnv) Waiting() int                   { defer e.m.tick(); return e.Env.Waiting() }
func (e *panickingEnv) GrantsLeft() int                { defer e.m.tick(); return e.Env.GrantsLeft() }
func (e *panickingEnv) Caller() protocol.Caller        { defer e.m.tick(); return e.Env.Caller() }

func (e *panickingEnv) Version() protocol.Version { defer e.m.tick(); return e.Env.Version() }

func (e *panickingEnv) Get(key []byte) (structures.Row, bool) {
	defer e.m.tick()
	return e.Env.Get(key)
}

func (e *panickingEnv) Ascend(from []byte, f func([]byte, structures.Row) bool) []byte {
	defer e.m.tick()
	return e.Env.Ascend(from, func(key []byte, row structures.Row) bool {
		e.m.tick()
		return f(key, row)
	})
}

func (e *panickingEnv) Waiters(f func(structures.Waiter) bool) {
	e.Env.Waiters(func(w structures.Waiter) bool {
		e.m.tick()
		return f(w)
	})
	e.m.tick()
}

func (e *panickingEnv) WasDue(key []byte) (structures.Row, bool) {
	defer e.m.tick()
	return e.Env.WasDue(key)
}

func (e *panickingEnv) Put(key []byte, row structures.Row) {
	e.Env.Put(key, row)
	e.m.tick()
}

func (e *panickingEnv) Delete(key []byte) {
	e.Env.Delete(key)
	e.m.tick()
}

func (e *panickingEnv) Destroy() {
	e.Env.Destroy()
	e.m.tick()
}

func (e *panickingEnv) Emit(event structures.Event) {
	e.Env.Emit(event)
	e.m.tick()
}

func (e *panickingEnv) Wait(payload []byte, timeout time.Duration) structures.Result {
	defer e.m.tick()
	return e.Env.Wait(payload, timeout)
}

func (e *panickingEnv) Grant(w structures.Waiter, r structures.Result) {
	e.Env.Grant(w, r)
	e.m.tick()
}

func (e *panickingEnv) Reserve(w structures.Waiter, r structures.Result, key []byte) {
	e.Env.Reserve(w, r, key)
	e.m.tick()
}
