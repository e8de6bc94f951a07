package kinds_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/kinds"
)

var (
	rewrite = flag.Bool("rewrite", false, "write what is made from the kinds: docs/protocol.json, and tables in the pages beside it")
	docs    = flag.String("docs", filepath.Join("..", "docs"), "the folder of the pages")
)

// TestProtocolFile: docs/protocol.json is what the kinds say.
func TestProtocolFile(t *testing.T) {
	want, file := kinds.Protocol(), filepath.Join(*docs, "protocol.json")
	if *rewrite {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/protocol.json is not what the kinds say: go test ./kinds -rewrite")
	}
}

// TestProtocolCopy: the client for Python is installed with a copy of
// docs/protocol.json.
func TestProtocolCopy(t *testing.T) {
	const copied = "../python/quorate/protocol.json"
	want, err := os.ReadFile(filepath.Join("..", "docs", "protocol.json"))
	if err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(copied, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not docs/protocol.json: go test ./kinds -rewrite", copied)
	}
}
