package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is the code of a version that is made up for a test: files of this one, by
// their path from the root, with changes.
type source struct {
	t     *testing.T
	root  string
	files map[string]string
	grown int // structs that have a field more
}

func newSource(t *testing.T) *source {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return &source{t: t, root: root, files: map[string]string{}}
}

func (s *source) read(file string) string {
	if text, ok := s.files[file]; ok {
		return text
	}
	b, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(file)))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// replace has other text in place of some that the file has so many times.
func (s *source) replace(file, before, after string, times int) {
	s.t.Helper()
	text := s.read(file)
	if n := strings.Count(text, before); n != times {
		s.t.Fatalf("%s has %q %d times, want %d: what the next version changes has moved", file, before, n, times)
	}
	s.files[file] = strings.ReplaceAll(text, before, after)
}

// grow gives a field more to the structs in a folder that the filter chooses: those
// that are encoded as arrays say so in the tag of their first field. It wants there
// to be so many at least.
func (s *source) grow(dir, field string, least int, chosen func(name string, t *ast.StructType) bool) {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.root, filepath.FromSlash(dir)))
	if err != nil {
		s.t.Fatal(err)
	}
	grown := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file := dir + "/" + e.Name()
		text, set := s.read(file), token.NewFileSet()
		f, err := parser.ParseFile(set, file, text, parser.SkipObjectResolution)
		if err != nil {
			s.t.Fatal(err)
		}
		var ends []int
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if t, ok := spec.Type.(*ast.StructType); ok && chosen(spec.Name.Name, t) {
					ends = append(ends, set.Position(t.Fields.Closing).Offset)
				}
			}
			return true
		})
		for _, at := range slices.Backward(ends) {
			text = text[:at] + "\n" + field + "\n" + text[at:]
		}
		if grown += len(ends); len(ends) > 0 {
			s.files[file] = text
		}
	}
	if grown < least {
		s.t.Fatalf("%d structs of %s are chosen, want %d", grown, dir, least)
	}
	s.grown += grown
}

func isArray(_ string, t *ast.StructType) bool {
	return len(t.Fields.List) > 0 && t.Fields.List[0].Tag != nil && strings.Contains(t.Fields.List[0].Tag.Value, "toarray")
}

func named(names ...string) func(string, *ast.StructType) bool {
	return func(name string, _ *ast.StructType) bool { return slices.Contains(names, name) }
}

// build builds the command and returns where it is.
func (s *source) build(name string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range s.files {
		at := filepath.Join(dir, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		overlay.Replace[filepath.Join(s.root, filepath.FromSlash(file))] = at
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		s.t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	binary := filepath.Join(dir, name)
	cmd := exec.CommandContext(s.t.Context(), "go", "build", "-overlay", list, "-o", binary, "./cmd/quorate")
	cmd.Dir = s.root
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return binary
}

// snapshotOften has what this test logs become snapshots, and what they cover leave
// the log: who rejoins empty gets one.
func (s *source) snapshotOften() *source {
	s.replace("shardgroups/config.go", "defaultSnapshotBytes = 32 << 20", "defaultSnapshotBytes = 64 << 10", 1)
	s.replace("shardgroups/config.go", "defaultRetainBytes   = 32 << 20", "defaultRetainBytes   = 16 << 10", 1)
	return s
}

// later is what a later version has at the end of each struct: an array with a map,
// a null and a float, which this version's messages never have.
const later = `package protocol

type Later struct {
	_ struct{} ` + "`cbor:\",toarray\"`" + `
}

var laterItem = []byte{0x83, 0x18, 42, 0xa1, 0x61, 'z', 0xf6, 0xf9, 0x3c, 0x00}

func (Later) MarshalCBOR() ([]byte, error) { return laterItem, nil }
func (*Later) UnmarshalCBOR([]byte) error  { return nil }
func (Later) MarshalJSON() ([]byte, error) { return []byte("{\"zone\": [1.5, null]}"), nil }
func (*Later) UnmarshalJSON([]byte) error  { return nil }

func longer(dst []byte, start int) []byte {
	dst[start]++ // an array of less than 23 elements
	return append(dst, laterItem...)
}

func (q *Request) AppendLater(dst []byte) []byte { return longer(q.Append(dst), len(dst)) }
func (p *Reply) AppendLater(dst []byte) []byte   { return longer(p.Append(dst), len(dst)) }
func (p *Problem) AppendLater(dst []byte) []byte { return longer(p.Append(dst), len(dst)) }
`

// next is the version after this one, as it could be: it has a field more wherever
// something is encoded (handshake, requests, replies, tables, sessions, questions and
// answers of members, gossip, answers to operators, member.json, the agreed state with
// its commands and sessions, entries and snapshots of groups), a level more, with which
// what is replicated has these fields, a version of the protocol, a feature and a
// counter's operation more.
func (s *source) next() *source {
	const field = "Later protocol.Later `level:\"2\" json:\"later\"`"
	s.files["protocol/later.go"] = later
	s.grow("protocol", "Later Later `level:\"2\" json:\"later\"`", 18, func(name string, t *ast.StructType) bool {
		return isArray(name, t) || strings.HasPrefix(name, "Status") || slices.Contains([]string{"HashReport", "GroupHash", "StructureReport", "StructureInfo"}, name)
	})
	s.grow("grid/internal/peers", field, 26, isArray)
	s.grow("grid/internal/gossip", field, 1, isArray)
	s.grow("shardgroups/raftnet", field, 1, isArray)
	s.grow("shardgroups/systemstate", field, 12, func(name string, t *ast.StructType) bool {
		return isArray(name, t) || named("Settings", "Member", "Replica", "Group", "ClusterState", "Command", "Opening", "SavedCluster", "Session", "snapshot")(name, t)
	})
	s.grow("grid/internal/identity", field, 2, named("peer", "Replica"))
	s.replace("grid/internal/identity/file.go", "	// Checksum is last", field+"\n	// Checksum is last", 1)
	s.replace("grid/internal/identity/file.go", "p.Voter, p.Run.Number, p.Run.Nonce}", "p.Voter, p.Run.Number, p.Run.Nonce, protocol.Later{}}", 1)

	s.replace("protocol/hello.go", "WireVersion   = 1", "WireVersion   = 2", 1)
	s.replace("protocol/hello.go", "KnownFeatures Features = 0", "KnownFeatures Features = 1 << 5", 1)
	s.replace("grid/internal/gossip/meta.go", "return f\n", "return f | 1<<40\n", 1)
	s.replace("client/conn.go", "q.Append(", "q.AppendLater(", 2) // also c.req.Append
	s.replace("client/batch.go", "c.req.Append(", "c.req.AppendLater(", 1)
	s.replace("grid/internal/server/traffic.go", "r.Append(", "r.AppendLater(", 1)
	s.replace("grid/internal/server/peer.go", "r.Append(", "r.AppendLater(", 1)
	s.replace("grid/internal/server/client.go", "p.Append(", "p.AppendLater(", 3)
	s.replace("shardgroups/group.go", "p.Append(", "p.AppendLater(", 2)

	s.replace("shardgroups/levels/levels.go", "const Max = 1", "const Max = 2", 1)
	s.replace("shardgroups/levels/levels.go", "return int(max(level, Max) - Max)", "return int(max(level, 1) - 1)", 1)

	s.replace("structures/dcounter/ops.go", "\n}\n\n// The codes of", fmt.Sprintf(`
	{Op: %d, Name: "triple", Level: 2, Body: "[]", Result: "[value: int]", Grows: true, Right: structures.RightWrite},
}

// The codes of`, opTriple), 1)
	s.replace("structures/dcounter/state.go", "	case opGet:\n	default:", fmt.Sprintf("	case opGet, %d:\n	default:", opTriple), 1)
	s.replace("structures/dcounter/state.go", "	case opCompareAndSet:\n		var old", fmt.Sprintf("	case %d:\n		return add(env, 2*value(env))\n	case opCompareAndSet:\n		var old", opTriple), 1)
	return s
}

// opTriple is the operation that the next version's counters have from level 2 on.
const opTriple = 99
