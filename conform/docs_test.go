package conform_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/quorate/quorate/conform"
)

// TestDocs: docs/protocol.md has the rules as this package has them, and names
// nothing else in its table.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| rule | a client MUST | section |\n|---|---|---|\n")
	for _, r := range conform.Rules() {
		want.WriteString(fmt.Sprintf("| `%s` | %s | %s |\n", r.Rule, r.Must, r.At))
	}
	if !strings.Contains(string(b), "\n\n"+want.String()+"\n") {
		t.Errorf("docs/protocol.md lacks this table:\n\n%s", want.String())
	}
}
