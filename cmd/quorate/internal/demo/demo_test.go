package demo

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
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
