package dns

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/client"
)

// eventually waits until got returns what is wanted.
func eventually(t *testing.T, want string, got func() string) {
	t.Helper()
	last := ""
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		if last = got(); last == want {
			return
		}
	}
	t.Fatalf("%s, want %s", last, want)
}

// bubble runs a test with a Server whose clock is the test's.
func bubble(t *testing.T, f func(t *testing.T, g *fake, s *Server)) {
	synctest.Test(t, func(t *testing.T) {
		g := newFake()
		f(t, g, quiet(t, g))
	})
}

func want(t *testing.T, s *Server, service, want string) {
	t.Helper()
	synctest.Wait()
	if got := code(s, "A "+service+".service.quorate."); got != want {
		t.Fatalf("%s: %s, want %s", service, got, want)
	}
}

const failed = "SERVFAIL 0"

// TestUnknown: while the list was never known nobody is told that there is nothing (DNS-1).
func TestUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		f.say("web") // it comes later
		began := time.Now()
		want(t, s, "web", failed)
		if took := time.Since(began); took != firstWait {
			t.Errorf("it took %v", took)
		}
		f.say("web", current("a", "10.0.0.1", 80))
		want(t, s, "web", failed) // half a list
		f.say("web", synced)
		want(t, s, "web", "NOERROR 1")

		// A watch that fails is not waited for, and comes again.
		f.mu.Lock()
		f.fails = errAway
		f.mu.Unlock()
		began = time.Now()
		want(t, s, "api", failed)
		want(t, s, "api", failed)
		if took := time.Since(began); took != 0 {
			t.Errorf("that it fails is known after %v", took)
		}
		f.mu.Lock()
		f.fails = nil
		f.mu.Unlock()
		time.Sleep(2 * time.Second)
		want(t, s, "api", "NXDOMAIN 0")
	})
}

// TestFirstWait: the first question is answered with the first list, when that comes.
func TestFirstWait(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		f.say("web")
		go func() {
			time.Sleep(time.Second)
			f.say("web", current("a", "10.0.0.1", 80), synced)
		}()
		want(t, s, "web", "NOERROR 1")
	})
}

// TestGap: while a list comes anew, the last one is told (DNS-3).
func TestGap(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		f.say("web", current("a", "10.0.0.1", 80), current("b", "10.0.0.2", 80), current("c", "10.0.0.3", 80), synced)
		want(t, s, "web", "NOERROR 3")
		f.say("web", gap, current("a", "10.0.0.1", 80))
		want(t, s, "web", "NOERROR 3")
		f.say("web", current("b", "10.0.0.2", 80), synced)
		want(t, s, "web", "NOERROR 2")
		f.say("web", gap, synced)
		want(t, s, "web", "NXDOMAIN 0")
	})
}

// TestAge: while the grid is away the last list is told, for an hour (DNS-4).
func TestAge(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		f.say("web", current("a", "10.0.0.1", 80), synced)
		want(t, s, "web", "NOERROR 1")
		pass := func(d time.Duration) {
			for range d / time.Minute { // it is asked for all the time
				time.Sleep(time.Minute)
				want(t, s, "web", "NOERROR 1")
			}
		}
		pass(time.Hour)
		f.say("web", confirmed)
		synctest.Wait()
		pass(time.Hour)
		time.Sleep(time.Second)
		want(t, s, "web", failed)
		f.say("web", gap) // it is back, and not complete
		want(t, s, "web", failed)
		f.say("web", current("a", "10.0.0.1", 80), synced)
		want(t, s, "web", "NOERROR 1")
	})
}

// TestLeft: a watch ends some minutes after the last question; while the grid is away, when
// its list cannot be told any more.
func TestLeft(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		f.say("web", current("a", "10.0.0.1", 80), synced)
		f.say("away", current("a", "10.0.0.1", 80), synced)
		want(t, s, "away", "NOERROR 1")
		want(t, s, "none", "NXDOMAIN 0")
		want(t, s, "web", "NOERROR 1")
		for _, step := range []struct {
			after           time.Duration
			web, away, none int
		}{
			{keepEmpty, 1, 1, 1},
			{sweepEvery + time.Second, 1, 1, 0},
			{keepAsked - keepEmpty - 2*sweepEvery, 1, 1, 0},
			{2 * sweepEvery, 0, 1, 0},
			{keepAway - keepAsked - 2*sweepEvery, 0, 1, 0},
			{2 * sweepEvery, 0, 0, 0},
		} {
			for range step.after / time.Second {
				time.Sleep(time.Second)
				if f.watches("web") > 0 {
					f.say("web", confirmed)
				}
			}
			synctest.Wait()
			web, away, none := f.watches("web"), f.watches("away"), f.watches("none")
			if web != step.web || away != step.away || none != step.none || s.mirrors.len() != web+away+none {
				t.Fatalf("after %v more: %d of web, %d of away, %d of none, %d mirrors", step.after, web, away, none, s.mirrors.len())
			}
		}
		f.say("web", current("a", "10.0.0.1", 80), current("b", "10.0.0.2", 80), synced)
		want(t, s, "web", "NOERROR 2") // it begins anew
	})
}

// TestRoom: names that somebody makes up push out nothing that is asked for, and each other
// at a bounded rate (DNS-5).
func TestRoom(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		f.say("web", current("a", "10.0.0.1", 80), synced)
		want(t, s, "web", "NOERROR 1")
		for i := range maxMirrors - 1 {
			want(t, s, fmt.Sprint("x", i), "NXDOMAIN 0")
		}
		want(t, s, "y0", failed)
		want(t, s, "web", "NOERROR 1")
		want(t, s, "x0", "NXDOMAIN 0") // asked for again
		time.Sleep(spareEmpty)
		begun := 0
		for i := range 2 * maxMirrors {
			if code(s, fmt.Sprint("A y", i, ".service.quorate.")) != failed {
				begun++
			}
		}
		if begun != maxMirrors-1 || s.mirrors.len() != maxMirrors || f.watches("web") != 1 {
			t.Errorf("%d names took the place of others, of %d; watches of web: %d", begun, s.mirrors.len(), f.watches("web"))
		}
		time.Sleep(spareAsked) // nobody asks for web, and the others have been left
		want(t, s, "web", "NOERROR 1")
	})
}

// TestRoomForAsked: where all services are there, one that was not asked for lately goes.
func TestRoomForAsked(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		for i := range maxMirrors + 1 {
			f.say(fmt.Sprint("s", i), current("a", "10.0.0.1", 80), synced)
		}
		for i := range maxMirrors {
			want(t, s, fmt.Sprint("s", i), "NOERROR 1")
			time.Sleep(time.Millisecond)
		}
		last := fmt.Sprint("s", maxMirrors)
		want(t, s, last, failed)
		time.Sleep(spareAsked)
		want(t, s, "s0", "NOERROR 1")
		want(t, s, last, "NOERROR 1")
		synctest.Wait()
		if f.watches("s0") != 1 || f.watches("s1") != 0 || s.mirrors.len() != maxMirrors {
			t.Errorf("s0 %d, s1 %d, of %d", f.watches("s0"), f.watches("s1"), s.mirrors.len())
		}
	})
}

// TestWaiting: only so many questions wait.
func TestWaiting(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		f.say("web")
		for range maxWaiting {
			go code(s, "A web.service.quorate.")
		}
		synctest.Wait()
		began := time.Now()
		want(t, s, "web", failed)
		if took := time.Since(began); took != 0 {
			t.Errorf("one more waits %v", took)
		}
		time.Sleep(firstWait)
	})
}

// TestCloseWhileWaiting: what waits fails at once, and nothing begins any more.
func TestCloseWhileWaiting(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake, s *Server) {
		f.say("web")
		began := time.Now()
		go func() {
			time.Sleep(time.Second)
			s.mirrors.close()
		}()
		want(t, s, "web", failed)
		want(t, s, "web", failed)
		want(t, s, "api", failed)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		if f.watches("web")+f.watches("api") != 0 {
			t.Error("a watch goes on")
		}
	})
}

// TestNotReady: a member without a client answers that it cannot.
func TestNotReady(t *testing.T) {
	n := 0
	for _, err := range Services(func() *client.Client { return nil })(t.Context(), "web") {
		if n++; err != errNotReady {
			t.Errorf("error %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d errors", n)
	}
}
