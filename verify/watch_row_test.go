package verify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/verify"
)

func TestCheckCounterWatch(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	good := func() verify.WatchedCounter {
		return verify.WatchedCounter{
			Added: []time.Time{at(1), at(2), at(6)}, Destroyed: []time.Time{at(4)},
			Watches: [][]verify.RowChange{
				{{At: at(0), Version: 5, Gone: true}, {At: at(3), Value: 2, Version: 7}, {At: at(5), Version: 8, Gone: true}, {At: at(7), Value: 1, Version: 9}},
				{{At: at(2).Add(1), Value: 1, Version: 6}, {At: at(7), Value: 1, Version: 9}},
			},
		}
	}
	if c := good(); verify.CheckCounterWatch(c) != nil || verify.CheckCounterEnd(c, 1) != nil {
		t.Error(verify.CheckCounterWatch(c), verify.CheckCounterEnd(c, 1))
	}
	for want, change := range map[string]func(*verify.WatchedCounter){
		"it comes behind version":  func(c *verify.WatchedCounter) { c.Watches[0][1].Version = 5 },
		"nobody had destroyed it":  func(c *verify.WatchedCounter) { c.Destroyed = nil },
		"had been added":           func(c *verify.WatchedCounter) { c.Watches[0][1].Value = 3 },
		"another watch was told":   func(c *verify.WatchedCounter) { c.Watches[1][0] = verify.RowChange{At: at(7), Value: 1, Version: 7} },
		"was last told":            func(c *verify.WatchedCounter) { c.Watches[1] = c.Watches[1][:1]; c.Watches[0][3].Value = 3 },
		"watch 1 was told nothing": func(c *verify.WatchedCounter) { c.Watches[1] = nil },
	} {
		c := good()
		change(&c)
		var text strings.Builder
		for _, err := range []error{verify.CheckCounterWatch(c), verify.CheckCounterEnd(c, 1)} {
			if err != nil {
				text.WriteString(err.Error())
			}
		}
		if !strings.Contains(text.String(), want) {
			t.Errorf("want %q, got %q", want, text.String())
		}
	}
}
