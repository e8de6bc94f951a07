package demo

import (
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
)

func TestCountWordsIsTheExpression(t *testing.T) {
	text := "package a1\n// _x, 9y-z \u00e90w: Ab_9 \x00 a1"
	got := map[string]int64{}
	n := countWords([]byte(text), got)
	want := map[string]int64{}
	words := regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`).FindAllString(text, -1)
	for _, w := range words {
		want[w]++
	}
	if d := cmp.Diff(want, got); d != "" || n != int64(len(words)) {
		t.Errorf("%d words, want %d (-want +got):\n%s", n, len(words), d)
	}
}

func TestTallySeesGapsAndOverlaps(t *testing.T) {
	var tally demoTally
	tally.add(demoReport{Files: 1, Acks: []int64{10, 50}, Held: [][2]int64{{0, 10}, {5, 20}}})
	tally.add(demoReport{Files: 2, Acks: []int64{20, 130}, Held: [][2]int64{{10, 30}, {20, 40}}})
	if files, _, _ := tally.progress(); files != 3 {
		t.Errorf("%d files, want 3", files)
	}
	if gap := tally.longestGap(); gap != 80 {
		t.Errorf("the longest gap is %d, want the one from 50 to 130", gap)
	}
	tally.add(demoReport{Every: demoReportEvery})
	tally.add(demoReport{Every: 2 * demoReportEvery})
	if n, last := tally.followers(); n != 1 || last.IsZero() {
		t.Errorf("%d worker processes follow, the last at %v: want one", n, last)
	}
	if most := tally.mostHeld(); most != 2 {
		t.Errorf("%d permits at once: one that ends when another begins does not overlap it; want 2", most)
	}
}

// TestSchedules: what the demo finds wrong with those who led, and with what they recorded.
func TestSchedules(t *testing.T) {
	began := time.Unix(100, 0)
	var seen demoTurns
	for i, r := range []demoTurn{{Name: "s1", Token: 7}, {Name: "s1", Token: 7, Job: 1}, {Name: "s2", Token: 9}} {
		if leads := seen.add(r, began.Add(time.Duration(i)*time.Second)); leads != (r.Job == 0) {
			t.Errorf("report %d tells of another leader: %t", i, leads)
		}
	}
	if wrong := seen.wrong(); len(wrong) != 1 {
		t.Errorf("nobody was killed: %q", wrong)
	}
	seen.killed = began.Add(time.Second)
	if took, ok := seen.takeOver(); took != time.Second || !ok || len(seen.wrong()) != 0 {
		t.Errorf("the take-over took %v, %t, with %q", took, ok, seen.wrong())
	}
	seen.add(demoTurn{Name: "s3", Token: 8}, began.Add(time.Hour))
	if wrong := seen.wrong(); len(wrong) != 1 {
		t.Errorf("a smaller token after a larger: %q", wrong)
	}

	var results []demoResult
	for job := 1; job <= demoJobs; job++ {
		results = append(results, demoResult{Job: job, Token: protocol.Token(1 + job/100)})
	}
	if wrong := wrongResults(results); len(wrong) != 0 {
		t.Errorf("all are right: %q", wrong)
	}
	if n := recordedBy(results, 1); n != 99 {
		t.Errorf("%d were recorded with token 1, want 99", n)
	}
	for what, bad := range map[string][]demoResult{
		"one is missing":          results[1:],
		"one is there twice":      append(results[:demoJobs:demoJobs], results[demoJobs-1]),
		"one is of an old leader": append(results[:demoJobs-1:demoJobs-1], demoResult{Job: demoJobs, Token: 1}),
	} {
		if wrong := wrongResults(bad); len(wrong) != 1 {
			t.Errorf("%s: %q", what, wrong)
		}
	}
}
