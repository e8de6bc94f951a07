package grid

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/quorate/quorate/protocol"
)

var opNumber = regexp.MustCompile(`(?m)^\top\w+ +protocol\.Op = (\d+)`)

// Logs and metrics name every operation that a room's ops.go numbers, and no
// other.
func TestEveryOperationHasAName(t *testing.T) {
	for _, k := range kinds() {
		source, err := os.ReadFile(filepath.Join("..", "structures", "d"+k.Name, "ops.go"))
		if err != nil {
			t.Fatal(err)
		}
		numbered := map[protocol.Op]bool{}
		for _, m := range opNumber.FindAllSubmatch(source, -1) {
			n, _ := strconv.Atoi(string(m[1]))
			numbered[protocol.Op(n)] = true
		}
		names := map[string]bool{}
		for op := range protocol.Op(64) {
			name := k.OpName(op)
			if numbered[op] != (name != "") || name != "" && names[name] {
				t.Errorf("%s, operation %d: numbered %v, name %q", k.Name, op, numbered[op], name)
			}
			names[name] = true
		}
	}
}
