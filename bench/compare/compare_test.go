package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestMain lets the tests' own binary be a member of etcd, or hold a lock.
func TestMain(m *testing.M) {
	if part := processPart(os.Args[1:]); part != nil {
		if err := part(os.Args[2:]); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestCompare measures both systems for a moment, on real processes.
func TestCompare(t *testing.T) {
	measureAll(t, "quorate,etcd", "2s")
}

// measureAll measures everything of systems for a moment.
func measureAll(t *testing.T, systems, ttl string) {
	t.Helper()
	var out bytes.Buffer
	err := compare(t.Context(), strings.Fields("-systems "+systems+" -ttl "+ttl+" -rounds 1 -duration 300ms -in-flight 8 -keys 100 -watchers 3 -stalled 3 -sessions 2 -locks 2 -json -measure "+strings.Join(measures, ",")), &out)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(&out); d.More(); {
		var line struct {
			System   string `json:"system"`
			Measured string `json:"measured"`
			figures
		}
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		seen[line.System+" "+line.Measured] = true
		timed := !strings.HasPrefix(line.Measured, "events") && !strings.HasPrefix(line.Measured, "puts")
		if line.PerSecond <= 0 || line.Errors > 0 || timed && line.P50 <= 0 || line.P99 < line.P50 {
			t.Errorf("%+v", line)
		}
	}
	if n := len(strings.Split(systems, ",")); len(seen) != n*(len(measures)+1) { // puts without watchers are one more
		t.Errorf("measured: %v", seen)
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"-systems zoo", "-in-flight 0", "-puts 101", "-in-flight x", "-rounds 0", "-duration 0s", "more", "-measure speed", "-ttl 1500ms", "-watchers 0", "-stalled 0"} {
		if _, err := parse(strings.Fields(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	o, err := parse(strings.Fields("-systems etcd,quorate -puts 5,50 -in-flight 1,2"))
	if err != nil || len(o.systems) != 2 || len(o.puts) != 2 || len(o.inFlight) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
}
