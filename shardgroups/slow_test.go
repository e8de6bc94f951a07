package shardgroups

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/shardgroups/groupstate"
)

// TestGroup_PanicsAreLoggedSeldom: a client that makes a structure panic with each
// of its requests does not fill the disk with stacks: the groups of a member log
// one a second, and how many they have left out.
func TestGroup_PanicsAreLoggedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h := &Host{cfg: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
		groups := []*Group{{host: h, kinds: new(groupstate.Kinds)}, {host: h, kinds: new(groupstate.Kinds)}}
		const each, seconds = 50, 3
		for range seconds {
			for range each {
				for _, g := range groups {
					g.panicked(groupstate.Panic{Name: "jobs", Value: "a bug"})
				}
			}
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "a structure has panicked"); n != seconds {
			t.Errorf("%d panics are logged in %d seconds", n, seconds)
		}
		for want, times := range map[string]int{"suppressed=0": 1, "suppressed=99": seconds - 1} {
			if n := strings.Count(log.String(), want+"\n"); n != times {
				t.Errorf("%q is in the log %d times, want %d", want, n, times)
			}
		}
	})
}
