package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/cmd/quorate/internal/member"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/internal/ports"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quorate": main})
}

// TestScripts runs the commands as a shell does, one script a command. They
// talk to a grid of one member, unless they start their own.
func TestScripts(t *testing.T) {
	g, err := member.StartDev(t.Context(), member.DevConfig{Members: 1, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	// The scripts are parallel: they run after this function has returned.
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("QUORATE_ENDPOINTS", g.Addresses()[0])
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"free":   scriptFree,
			"await":  scriptAwait,
			"hangup": scriptHangup,
		},
		RequireExplicitExec: true,
	})
}

// scriptFree sets each named variable to an address whose port is free, the
// lowest address first: it is that of a founder.
func scriptFree(ts *testscript.TestScript, _ bool, args []string) {
	addresses, err := ports.Free(len(args))
	ts.Check(err)
	slices.Sort(addresses)
	for i, name := range args {
		ts.Setenv(name, addresses[i])
	}
}

// scriptAwait runs a command again and again until it succeeds (or, with !,
// fails) and prints, where one is given first, the text after "=".
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	want := ""
	if strings.HasPrefix(args[0], "=") {
		want, args = args[0][1:], args[1:]
	}
	deadline := time.Now().Add(time.Minute)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err != nil) == neg && strings.Contains(ts.ReadFile("stdout"), want) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v: not within a minute: %v\n%s\n%s", args, err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// scriptHangup sends SIGHUP, which kill does not know, to the command that was
// started last in the background.
func scriptHangup(ts *testscript.TestScript, _ bool, _ []string) {
	all := ts.BackgroundCmds()
	ts.Check(all[len(all)-1].Process.Signal(syscall.SIGHUP))
}

func TestUnknownVariables(t *testing.T) {
	got := member.UnknownVariables([]string{
		"QUORATE_NAME=n1", "QUORATE_NMAE=n1", "QUORATE_PORT=tcp://10.0.0.1:7170", "QUORATE_SERVICE_HOST=10.0.0.1",
		"QUORATE_PORT_7170_TCP=x", "QUORATE_ENDPOINTS=a", "PATH=/", "QUORATE_DATA_DIR",
	})
	if len(got) != 1 || got[0] != (member.UnknownVariable{Name: "QUORATE_NMAE", Near: "QUORATE_NAME"}) {
		t.Errorf("unknown: %v", got)
	}
}

// TestHeapLimit: Go's runtime has what the rest of the process leaves.
func TestHeapLimit(t *testing.T) {
	const mib = 1 << 20
	for _, outside := range []int64{0, 1, 50 * mib, 150 * mib} {
		if h := member.ForHeap(512*mib, outside); h+outside > 512*mib || h < 512*mib-outside-24*mib {
			t.Errorf("%d outside: %d for the heap", outside, h)
		}
	}
	if h := member.ForHeap(512*mib, 500*mib); h != 256*mib {
		t.Errorf("the heap has %d, which is not worth collecting for", h)
	}
}

func TestMemoryLimitIsPositive(t *testing.T) {
	if _, err := os.Stat("/proc/meminfo"); err == nil && grid.SystemMemory() <= 0 {
		t.Error("no memory limit was found")
	}
}
