package nearest

import (
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	known := []string{"capacity", "data-dir", "ttl"}
	for name, want := range map[string]string{
		"capacity": "capacity", "capcity": "capacity", "capactiy": "capacity", "Capacity": "capacity", "data_dir": "data-dir", "tll": "ttl",
		"x": "", "something else": "", "": "", strings.Repeat("capacity", 100): "",
	} {
		if got := Name(name, known); got != want {
			t.Errorf("the name nearest to %q is %q, want %q", name, got, want)
		}
	}
}
