package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/quorate/quorate/verify/nemesis"
)

// TestMembersInControlGroups gives three members control groups with less memory
// than is written to them. They take their limit from there: writes are refused,
// all else goes on, and the kernel ends nobody.
func TestMembersInControlGroups(t *testing.T) {
	probe, err := nemesis.NewMemoryGroup("probe", 64<<20)
	if err != nil {
		t.Skipf("not checked here: %v", err)
	}
	if err := probe.Remove(); err != nil {
		t.Fatal(err)
	}
	binary, err := exec.LookPath("quorate")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), binary, "bench", "full", "--control-group", "--limit", "320", "--durability", "memory", "--duration", "30s").CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, "each in a control group of 320 MiB") || !strings.Contains(text, "all held") {
		t.Errorf("%v\n%s", err, out)
	}
}
