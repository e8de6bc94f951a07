package quorate_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/quorate/quorate"

// layers says which packages of ours a package may import. A name ending in
// "/..." stands for everything below it; the first line that fits a package
// counts. What is not listed may not be imported, so an arrow that points
// upward fails here before it becomes a habit.
var layers = []struct {
	packages string
	may      []string
}{
	// Layer 0: the wire, and the errors an application compares.
	{".", nil},
	{"mutants/...", []string{"mutants"}}, // the command that runs the checks
	{"mutants", nil},                     // plants bugs in what keeps the promises; nothing without its build tag
	{"protocol", []string{"."}},
	{"internal/otherversion", nil}, // messages of other versions, for tests
	{"internal/nearest", nil},      // the name that was meant
	{"internal/ports", nil},        // where grids of one machine listen
	{"internal/flood", []string{"internal/contexts", "protocol"}},                                // hostile clients
	{"internal/procgrid", []string{"client", "internal/contexts", "internal/ports", "protocol"}}, // processes of members
	{"internal/child", nil},              // runs the commands of those who hold something
	{"internal/contexts", []string{"."}}, // why a context has ended

	// Layer 1: pure maths, and the contract of a structure.
	{"partition", []string{"protocol"}},
	{"structures", []string{"mutants", ".", "internal/contexts", "internal/nearest", "protocol"}},
	{"archive", []string{"protocol"}}, // the form of saved groups; it knows no state

	// Layer 2: the deterministic state of a group, and the rooms. A room never
	// imports another room. The conformance suite runs a room's machine in the
	// very state a group gives it.
	{"shardgroups/levels", []string{"protocol"}}, // the shapes of what is logged
	{"shardgroups/groupstate", []string{"mutants", "archive", ".", "partition", "protocol", "structures", "shardgroups/levels"}},
	{"shardgroups/systemstate", []string{"mutants", "partition", "protocol", "shardgroups/groupstate", "shardgroups/levels"}},
	{"structures/structurestest", []string{".", "internal/contexts", "partition", "protocol", "structures", "structures/watch", "shardgroups/groupstate", "shardgroups/hub"}},
	{"structures/roster/rostertest", []string{"protocol", "structures/structurestest"}}, // for the rooms that are rosters
	{"structures/dservice", []string{".", "internal/contexts", "mutants", "protocol", "structures", "structures/roster"}},
	{"structures/dpresence", []string{".", "protocol", "structures", "structures/roster"}},
	{"structures/dlock", []string{"mutants", ".", "protocol", "structures", "structures/delay"}}, // the setting of both locks
	{"structures/drwlock", []string{"mutants", ".", "protocol", "structures", "structures/delay"}},
	{"structures/...", []string{"mutants", ".", "internal/contexts", "protocol", "structures"}},

	// Layer 3: Raft, and the list of all structures.
	{"kinds", []string{"protocol", "structures", "structures/..."}},
	{"shardgroups/memlog", nil},
	{"shardgroups/histogram", nil},
	{"shardgroups/walfs", []string{"shardgroups/histogram"}},
	{"shardgroups/engine", []string{"protocol", "shardgroups/memlog", "shardgroups/walfs"}},
	{"shardgroups/raftnet", []string{"mutants", "protocol"}},
	{"shardgroups/extract", []string{"archive", "partition", "protocol", "structures", "shardgroups/engine", "shardgroups/groupstate", "shardgroups/raftnet", "shardgroups/systemstate", "shardgroups/walfs"}},
	{"shardgroups/hub", []string{"mutants", "protocol", "structures", "shardgroups/groupstate", "shardgroups/histogram"}}, // serves watches; it knows no engine
	{"shardgroups/baseline", []string{"protocol", "shardgroups/engine"}},                                                  // for the configuration of a member only
	{"shardgroups", []string{"mutants", "archive", ".", "partition", "protocol", "structures", "shardgroups/engine", "shardgroups/extract", "shardgroups/groupstate", "shardgroups/histogram", "shardgroups/hub", "shardgroups/raftnet", "shardgroups/systemstate", "shardgroups/walfs"}},

	// Layer 4: members and clients. A client never imports grid: an embedded
	// member hands out a client with links inside the process.
	{"client/nearcache", []string{"mutants", ".", "internal/contexts", "protocol", "structures"}},
	{"client", []string{"mutants", ".", "client/nearcache", "internal/contexts", "partition", "protocol", "structures", "structures/watch"}},
	{"grid/internal/view", []string{".", "client", "structures", "structures/delection", "structures/dlock", "structures/dpresence", "structures/dservice"}},     // what HTTP shows
	{"grid/internal/dns", []string{"mutants", "client", "internal/contexts", "structures", "structures/dservice", "structures/roster", "grid/internal/network"}}, // what DNS shows
	{"grid/internal/...", []string{"mutants", "archive", ".", "client", "internal/contexts", "kinds", "partition", "protocol", "structures", "shardgroups", "shardgroups/extract", "shardgroups/groupstate", "shardgroups/hub", "shardgroups/systemstate", "grid/internal/..."}},
	{"grid/gridtest", []string{".", "client", "grid", "grid/internal/...", "internal/ports", "partition", "protocol", "shardgroups", "shardgroups/systemstate", "structures"}}, // breaks and tunes members for tests
	{"grid", []string{"archive", ".", "client", "internal/contexts", "kinds", "partition", "protocol", "structures", "shardgroups", "shardgroups/extract", "shardgroups/groupstate", "shardgroups/hub", "shardgroups/systemstate", "grid/internal/..."}},
	{"config", []string{"mutants", ".", "internal/contexts", "protocol", "structures", "structures/dmap", "structures/dref"}}, // settings that are followed; above the structures
	{"bench", []string{".", "client", "internal/contexts", "kinds", "protocol", "structures", "structures/..."}},
	{"verify", []string{".", "client", "internal/contexts", "kinds", "protocol", "structures", "structures/..."}},
	{"conform", []string{"kinds", "partition", "protocol", "shardgroups/groupstate", "structures"}}, // plays the members for a client under test
	{"conform/goclient", []string{".", "client", "structures", "structures/..."}},
	{"verify/network", []string{"internal/ports", "internal/procgrid", "protocol"}},                                                  // between the processes
	{"verify/nemesis", []string{"client", "internal/contexts", "internal/flood", "internal/procgrid", "protocol", "verify/network"}}, // starts and breaks processes
	{"verify/workloads", []string{".", "client", "internal/contexts", "protocol", "structures", "structures/...", "verify"}},

	// Layer 5: the command.
	{"cmd/quorate/internal/cli", []string{".", "bench", "client", "internal/contexts", "kinds", "protocol", "structures"}},
	{"cmd/quorate/internal/structures", []string{".", "client", "cmd/quorate/internal/cli", "internal/child", "internal/contexts", "internal/nearest", "kinds", "partition", "protocol", "structures", "structures/..."}},
	{"cmd/quorate/internal/...", []string{".", "bench", "client", "cmd/quorate/internal/...", "config", "conform", "conform/...", "grid", "internal/contexts", "internal/flood", "internal/nearest", "internal/ports", "internal/procgrid", "kinds", "partition", "protocol", "shardgroups/baseline", "structures", "structures/...", "verify", "verify/..."}},
	{"cmd/quorate", []string{"client", "cmd/quorate/internal/...", "kinds", "protocol", "structures"}},
	{"examples/settings", []string{"client", "config", "internal/procgrid", "structures/dref"}},
	{"examples/...", []string{".", "client", "grid", "grid/gridtest", "internal/ports", "structures", "structures/..."}}, // what a user would write
	{"python/tests/interop", []string{"client", "structures/..."}},                                                       // a program for the tests of the client for Python
}

// dependencies names who may import each module of others, and why.
var dependencies = map[string]map[string]string{
	"github.com/fxamacker/cbor/v2": {
		"protocol":   "control messages, which are not worth an encoder by hand",
		"structures": "the CBOR codec of values: its options are those of user data, not of the wire",
	},
	"github.com/lni/dragonboat/v4": {
		"shardgroups":          "Raft",
		"shardgroups/engine":   "its configuration, its start and its logs",
		"shardgroups/extract":  "reads snapshots and logs of replicas that do not run",
		"shardgroups/raftnet":  "the interfaces of its transport and registry, and the messages",
		"shardgroups/walfs":    "the error of a snapshot that is given up",
		"shardgroups/baseline": "measures it bare, so that nothing of ours may be in between",
		"shardgroups/memlog":   "the interface of its log store, and the entries",
	},
	"github.com/cockroachdb/pebble": {"shardgroups/extract": "dragonboat's log store, in dragonboat's version: read and verified before the engine opens"},
	"github.com/lni/vfs": {
		"shardgroups/walfs": "the file systems that dragonboat takes",
		"grid/gridtest":     "disks in memory that forget what was not synced",
	},
	"github.com/klauspost/compress":   {"archive": "zstd, which other programs read too, and which is not cgo"},
	"github.com/tidwall/btree":        {"shardgroups/groupstate": "ordered rows with a copy in constant time, for snapshots"},
	"github.com/hashicorp/memberlist": {"grid/internal/gossip": "finds members and suspects them"},
	"github.com/miekg/dns":            {"grid/internal/dns": "the messages of DNS, and its transports"},
	"golang.org/x/sys": {
		"grid/internal/identity": "locks the data directory",
		"verify/network":         "network namespaces",
		"verify/nemesis":         "disks that fill, control groups",
		"internal/child":         "process groups in the foreground of a terminal, job objects",
	},
	"github.com/alecthomas/kong": {
		"cmd/quorate":                     "the command line",
		"cmd/quorate/internal/cli":        "the order of its arguments",
		"cmd/quorate/internal/structures": "what its help says of kinds",
		"cmd/quorate/internal/member":     "flags that a file and the environment set, too",
	},
	"github.com/knadh/koanf": {
		"cmd/quorate":                 "its tests read the configuration that is deployed",
		"cmd/quorate/internal/member": "one configuration out of a YAML file and the environment, with the source of each value",
	},
	"github.com/prometheus/client_golang": {"grid/internal/web": "metrics in the form that everybody scrapes"},
	"github.com/dgraph-io/ristretto/v2":   {"client/nearcache": "which values stay within a bound of bytes"},
	"github.com/HdrHistogram/hdrhistogram-go": {
		"bench": "latencies without loss at the tail",
	},
	"github.com/anishathalye/porcupine": {"verify": "the linearizability checker"},
	"github.com/cespare/xxhash/v2": {
		"partition":              "routes keys; other clients have it too",
		"shardgroups/groupstate": "the hash of a group's state, by which replicas are compared",
	},
}

// testDependencies are imported by tests only.
var testDependencies = map[string]string{
	"github.com/cockroachdb/datadriven": "scripts with the output that they are to have",
	"github.com/google/go-cmp":          "says how two values differ",
	"github.com/rogpeppe/go-internal":   "testscript: the commands as a shell sees them",
	"pgregory.net/rapid":                "property tests that shrink what they find",
}

// pure are the packages, and files, in which state is replicated or plans are
// made: what they do depends on their input only.
func pure(file string) bool {
	dir, base := path.Split(file)
	dir = strings.TrimSuffix(dir, "/")
	switch {
	case dir == "archive", dir == "partition", dir == "shardgroups/groupstate", dir == "shardgroups/systemstate":
		return true
	case strings.HasPrefix(dir, "structures/") && dir != "structures/structurestest":
		return base == "state.go"
	}
	return false
}

// impure are the packages a pure file may not import, and why.
var impure = map[string]string{
	"context":          "ends with the clock",
	"crypto/rand":      "differs on each replica",
	"hash/maphash":     "is seeded in each process",
	"log/slog":         "replay would log again",
	"math/rand":        "differs on each replica",
	"math/rand/v2":     "differs on each replica",
	"net":              "is I/O",
	"os":               "is I/O, or local configuration",
	"runtime":          "differs on each member",
	"sync":             "is for several goroutines, and a pure file meets one",
	"sync/atomic":      "is for several goroutines, and a pure file meets one",
	"unique":           "differs in each process",
	"github.com/lni":   "is I/O",
	"golang.org/x/sys": "is I/O",
}

// anyOrder are the maps that a pure file ranges over, and why their order does
// not show.
var anyOrder = map[string]string{
	"shardgroups/systemstate/session.go sessions": "one range takes the least deadline, the other sorts what it finds",
}

func TestLayering(t *testing.T) {
	eachFile(t, func(file string, f *ast.File) {
		dir := path.Dir(file)
		test := strings.HasSuffix(file, "_test.go")
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case imported == module || strings.HasPrefix(imported, module+"/"):
				// Tests may look at the package from above, with a real grid.
				if !test {
					checkOurs(t, file, dir, strings.TrimPrefix(strings.TrimPrefix(imported, module), "/"))
				}
			case strings.Contains(strings.Split(imported, "/")[0], "."):
				checkTheirs(t, file, dir, test, imported)
			}
		}
	})
}

func checkOurs(t *testing.T, file, dir, imported string) {
	t.Helper()
	if imported == "" {
		imported = "."
	}
	for _, l := range layers {
		if !fits(l.packages, dir) {
			continue
		}
		if !slices.ContainsFunc(l.may, func(p string) bool { return fits(p, imported) }) {
			t.Errorf("%s imports %s, but %s may import only %v of ours", file, imported, dir, l.may)
		}
		return
	}
	t.Errorf("%s: package %s has no layer: add it to layers in layering_test.go", file, dir)
}

// fits reports whether a package is pattern, or is below a pattern "x/...".
func fits(pattern, pkg string) bool {
	if below, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(pkg, below)
	}
	return pattern == pkg
}

func checkTheirs(t *testing.T, file, dir string, test bool, imported string) {
	t.Helper()
	of := func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }
	for m := range testDependencies {
		if of(m) {
			if !test && !strings.HasSuffix(dir, "test") {
				t.Errorf("%s imports %s, which is for tests", file, imported)
			}
			return
		}
	}
	for m, importers := range dependencies {
		if !of(m) {
			continue
		}
		if _, ok := importers[dir]; !ok {
			t.Errorf("%s imports %s: only these may, and why: %v", file, imported, importers)
		}
		return
	}
	t.Errorf("%s imports %s: a dependency needs an importing package and a reason in layering_test.go", file, imported)
}

// TestPureFilesAreDeterministic looks for what it can see in the syntax. What
// it cannot see, such as a map behind a named type, the conformance suite finds.
func TestPureFilesAreDeterministic(t *testing.T) {
	eachFile(t, func(file string, f *ast.File) {
		if !pure(file) || strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, spec := range f.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			for p, why := range impure {
				if imported == p || strings.HasPrefix(imported, p+"/") {
					t.Errorf("%s is deterministic and imports %s, which %s", file, imported, why)
				}
			}
		}
		maps := declaredMaps(f)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s is deterministic and starts a goroutine", file)
			case *ast.RangeStmt:
				if name := nameOf(n.X); maps[name] && anyOrder[file+" "+name] == "" {
					t.Errorf("%s is deterministic and ranges over %s, which is declared as a map", file, name)
				}
			case *ast.SelectorExpr:
				// What is left of package time is durations: arithmetic.
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && x.Obj == nil {
					switch n.Sel.Name {
					case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick":
						t.Errorf("%s is deterministic and uses time.%s", file, n.Sel.Name)
					}
				}
			}
			return true
		})
	})
}

// declaredMaps returns the names a file declares with a map type, be they
// fields, parameters or variables.
func declaredMaps(f *ast.File) map[string]bool {
	names := map[string]bool{}
	isMap := func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.MapType:
			return true
		case *ast.CompositeLit:
			_, ok := e.Type.(*ast.MapType)
			return ok
		case *ast.CallExpr: // make
			if len(e.Args) == 0 {
				return false
			}
			_, ok := e.Args[0].(*ast.MapType)
			return ok
		}
		return false
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				names[name.Name] = names[name.Name] || isMap(n.Type)
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				names[name.Name] = names[name.Name] || isMap(n.Type) || i < len(n.Values) && isMap(n.Values[i])
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if len(n.Lhs) == len(n.Rhs) {
					names[nameOf(left)] = names[nameOf(left)] || isMap(n.Rhs[i])
				}
			}
		}
		return true
	})
	delete(names, "")
	return names
}

// nameOf returns the last name of x or a.b.x.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// eachFile parses every Go file of the module, for every platform.
func eachFile(t *testing.T, visit func(file string, f *ast.File)) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if file == "." {
				return nil
			}
			_, nested := os.Stat(filepath.Join(file, "go.mod"))
			if nested == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		files++
		visit(filepath.ToSlash(file), f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no Go files found")
	}
}
