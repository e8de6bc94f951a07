package quorate_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/structures"
)

// genericOnly are the kinds that have no commands of their own: ls, inspect,
// configure and destroy are all that people need.
var genericOnly = map[string]bool{}

// TestKindsAreComplete: around each kind there is what holds it to its promises and
// what people need. Bodies and tables are those of package kinds, and its tests.
func TestKindsAreComplete(t *testing.T) {
	files := kindFiles(t)
	for _, k := range kinds.All() {
		for _, lack := range lacksAround(&k, files) {
			t.Errorf("%s: %s", k.Name, lack)
		}
	}
}

// TestKindsAreComplete_Seen: the test above sees what is missing.
func TestKindsAreComplete_Seen(t *testing.T) {
	files := kindFiles(t)
	k, _ := kinds.Named("queue")
	edit := func(file, old, by string) func(map[string]string) {
		return func(files map[string]string) {
			if !strings.Contains(files[file], old) {
				t.Fatalf("%s has no %q", file, old)
			}
			files[file] = strings.ReplaceAll(files[file], old, by)
		}
	}
	for what, spoil := range map[string]func(map[string]string){
		"conformance": edit("structures/dqueue/model_test.go", "structurestest.Run(", "run("),
		"a fuzz target": func(files map[string]string) {
			for file := range files {
				files[file] = strings.ReplaceAll(files[file], "structurestest.Fuzz(", "fuzz(")
			}
		},
		"a workload": func(files map[string]string) {
			for file := range files {
				if strings.HasPrefix(file, "verify/workloads/") {
					files[file] = strings.ReplaceAll(files[file], "structures/dqueue\"", "structures/dmap\"")
				}
			}
		},
		"a checker":                        edit("verify/queue.go", "porcupine.Model{", "other{"),
		"commands":                         func(files map[string]string) { delete(files, "cmd/quorate/internal/structures/queue.go") },
		"a section of the protocol":        edit("docs/protocol.md", "<!-- made from the kinds: queue -->", ""),
		"a column of what shows a promise": edit("docs/guarantees.md", "| promise | map | counter | semaphore | queue |", "| promise | map | counter | semaphore |"),
		"a column of faults":               edit("docs/guarantees.md", "| semaphore | queue | `quorate verify`", "| semaphore | `quorate verify`"),
		"its term":                         edit("docs/terms.md", "semaphore, queue", "semaphore"),
		"mutants":                          edit("structures/dqueue/mutant.go", "mutants.GiveBackAtTail", "false"),
	} {
		spoiled := maps.Clone(files)
		if spoil(spoiled); len(lacksAround(&k, spoiled)) != 1 {
			t.Errorf("without %s a kind lacks %q", what, lacksAround(&k, spoiled))
		}
	}
}

// kindFiles returns the files in which kinds are looked for, by their paths.
func kindFiles(t *testing.T) map[string]string {
	files := map[string]string{}
	for _, dir := range []string{"structures", "verify", "cmd/quorate/internal/structures", "docs"} {
		err := fs.WalkDir(os.DirFS("."), dir, func(file string, d fs.DirEntry, err error) error {
			if ext := path.Ext(file); err != nil || d.IsDir() || ext != ".go" && ext != ".md" {
				return err
			}
			b, err := os.ReadFile(file)
			files[file] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// lacksAround returns what is missing around a kind.
func lacksAround(k *structures.Kind, files map[string]string) (list []string) {
	dir := "structures/d" + k.Name
	imported := fmt.Sprintf("%q", module+"/"+dir)
	// some reports whether a file of a folder, a test or not, has all of the texts.
	some := func(dir string, test bool, texts ...string) bool {
		for file, text := range files {
			if path.Dir(file) == dir && strings.HasSuffix(file, "_test.go") == test &&
				!slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(text, s) }) {
				return true
			}
		}
		return false
	}
	want := func(ok bool, format string, args ...any) {
		if !ok {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	want(some(dir, true, "structurestest.Run("), "no test in %s runs the conformance suite, structurestest.Run", dir)
	want(some(dir, true, "structurestest.Fuzz("), "%s has no fuzz target that calls structurestest.Fuzz", dir)
	want(some("verify/workloads", false, imported), "no workload in verify/workloads uses it")
	want(some("verify", false, imported, "porcupine.Model{") || some("verify", false, imported, "func Check"),
		"no file of package verify has a model of it, or an exact check")
	own := files["cmd/quorate/internal/structures/"+k.Name+".go"]
	want(genericOnly[k.Name] != strings.Contains(own, imported), "cmd/quorate/internal/structures/%s.go has no commands for it, or it is in genericOnly", k.Name)

	want(strings.Contains(files["docs/protocol.md"], "<!-- made from the kinds: "+k.Name+" -->"), "docs/protocol.md has no section")
	for _, table := range []string{"promise", "fault"} {
		column := regexp.MustCompile(`(?m)^\| ` + table + ` \|.* ` + k.Name + ` \|`)
		want(column.MatchString(files["docs/guarantees.md"]), "docs/guarantees.md: the table whose first column is %s has none for it", table)
	}
	term := regexp.MustCompile(`(?m)^\| \*\*structure\*\* \|.*\b` + k.Name + `\b`)
	want(term.MatchString(files["docs/terms.md"]), "docs/terms.md does not name it as a structure")

	// A mutant is one of a structure if it is planted there, or noticed there.
	bugs := map[mutants.Bug]bool{}
	for _, m := range mutants.All {
		if m.Package == dir {
			bugs[m.Bug] = true
		}
	}
	planted := regexp.MustCompile(`mutants\.On\(mutants\.(\w+)\)`)
	for file, text := range files {
		if path.Dir(file) != dir {
			continue
		}
		for _, m := range planted.FindAllStringSubmatch(text, -1) {
			bugs[mutants.Bug(kebab(m[1]))] = true
		}
	}
	want(len(bugs) >= 3, "%d mutants are planted or noticed in %s, not three", len(bugs), dir)
	return list
}

// kebab returns the name of a bug by that of its constant: "give-back-at-tail".
func kebab(constant string) string {
	words := regexp.MustCompile(`[A-Z]+[a-z]*`).FindAllString(strings.ReplaceAll(constant, "TTL", "Ttl"), -1)
	return strings.ToLower(strings.Join(words, "-"))
}
