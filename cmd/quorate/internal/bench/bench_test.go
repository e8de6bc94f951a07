package bench

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/bench"
)

// TestWorkloads: the command takes every workload that there is.
func TestWorkloads(t *testing.T) {
	field, _ := reflect.TypeFor[benchRun]().FieldByName("Workload")
	taken := slices.Sorted(slices.Values(strings.Split(field.Tag.Get("enum"), ",")))
	if diff := cmp.Diff(bench.Workloads(), taken); diff != "" {
		t.Errorf("workloads, and those the command takes (+):\n%s", diff)
	}
}
