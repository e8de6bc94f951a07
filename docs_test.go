package quorate_test

import (
	"encoding/hex"
	"go/ast"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/verify/nemesis"
)

// pages returns every page of Markdown with its text.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(file, ".md") {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			texts[file] = string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// anchor is the name that a heading has in a link.
func anchor(heading string) string {
	s := strings.ToLower(strings.TrimSpace(strings.TrimLeft(heading, "#")))
	s = regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(s, "")
	return strings.ReplaceAll(s, " ", "-")
}

func TestPagesAreASCIIAndLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for file, text := range pages(t) {
		code := false
		for i, line := range strings.Split(text, "\n") {
			if strings.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
				t.Errorf("%s:%d is not ASCII", file, i+1)
			}
			if strings.HasPrefix(line, "```") {
				code = !code
			}
			if code {
				continue
			}
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				path, fragment, _ := strings.Cut(m[1], "#")
				to := file
				if path != "" {
					to = filepath.Join(filepath.Dir(file), path)
				}
				b, err := os.ReadFile(to)
				if info, statErr := os.Stat(to); statErr == nil && info.IsDir() {
					continue
				}
				if err != nil {
					t.Errorf("%s:%d links to %s, which is not there", file, i+1, m[1])
					continue
				}
				found := fragment == ""
				for heading := range strings.Lines(string(b)) {
					found = found || strings.HasPrefix(heading, "#") && anchor(heading) == fragment
				}
				if !found {
					t.Errorf("%s:%d links to %s, which has no such heading", file, i+1, m[1])
				}
			}
		}
	}
}

// TestPagesNameTestsThatExist wants every test that a page names, as in
// `verify.TestPromisesUnderFaults`, to be there.
func TestPagesNameTestsThatExist(t *testing.T) {
	declared := map[string]bool{}
	eachFile(t, func(file string, f *ast.File) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasSuffix(file, "_test.go") {
				declared[strings.TrimSuffix(f.Name.Name, "_test")+"."+fn.Name.Name] = true
			}
		}
	})
	named := regexp.MustCompile("`([a-z]+\\.)?((Test|Fuzz|Example)[A-Z]\\w*)`")
	for file, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if name := m[1] + m[2]; m[1] != "" && !declared[name] {
				t.Errorf("%s names %s, which is not there", file, name)
			} else if m[1] == "" && !slices.ContainsFunc(slices.Collect(maps.Keys(declared)), func(d string) bool { return strings.HasSuffix(d, "."+name) }) {
				t.Errorf("%s names %s, which is in no package", file, name)
			}
		}
	}
}

// TestPagesNameFaultsThatExist wants the table of faults to have all faults of
// `quorate verify`, and no others.
func TestPagesNameFaultsThatExist(t *testing.T) {
	_, section, _ := strings.Cut(pages(t)[filepath.Join("docs", "guarantees.md")], "\n## Under which faults\n")
	section, _, _ = strings.Cut(section, "\n## ")
	named := map[string]bool{}
	for _, cells := range rows(section, regexp.MustCompile("^\\| .*`")) {
		column := len(cells) - 2 // behind those of the structures
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cells[column], -1) {
			named[m[1]] = true
		}
	}
	for _, f := range nemesis.Faults() {
		if !named[f.Name] {
			t.Errorf("no promise is said to be kept under %s", f.Name)
		}
		delete(named, f.Name)
	}
	for name := range named {
		t.Errorf("there is no fault %s", name)
	}
}

// TestMutantsPage wants docs/mutants.md to have every planted bug with the check
// that must notice it. (That the tests it names exist is TestPagesNameTestsThatExist's.)
func TestMutantsPage(t *testing.T) {
	checks := map[string]string{}
	for _, cells := range rows(pages(t)[filepath.Join("docs", "mutants.md")], regexp.MustCompile("^\\| `[a-z-]+` \\|")) {
		checks[strings.Trim(cells[0], "`")] = strings.Trim(cells[2], "`")
	}
	for _, m := range mutants.All {
		if want := path.Base(m.Package) + "." + m.Check; checks[string(m.Bug)] != want {
			t.Errorf("%s is said to be noticed by %q, not %s", m.Bug, checks[string(m.Bug)], want)
		}
		delete(checks, string(m.Bug))
	}
	for bug := range checks {
		t.Errorf("%s is planted nowhere", bug)
	}
}

// rows returns the cells of the table rows of a page that match.
func rows(text string, match *regexp.Regexp) [][]string {
	var found [][]string
	for line := range strings.Lines(text) {
		if match.MatchString(line) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			found = append(found, cells)
		}
	}
	return found
}

// TestProtocolPage holds the routing vectors of docs/protocol.md to the code. Tables of
// operations and codes are made from the kinds: see kinds.TestPages.
func TestProtocolPage(t *testing.T) {
	text := pages(t)[filepath.Join("docs", "protocol.md")]
	vectors := rows(text, regexp.MustCompile("^\\| `.*\\| [0-9a-f]{16} \\| [0-9]+ \\|"))
	if len(vectors) < 15 {
		t.Errorf("found %d vectors", len(vectors))
	}
	for _, cells := range vectors {
		var key []byte
		if cells[1] != "none" {
			b, err := hex.DecodeString(strings.ReplaceAll(cells[1], " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			key = b
		}
		got := partition.Of(partition.DefaultPartitions, strings.Trim(cells[0], "`"), key)
		if strconv.Itoa(int(got)) != cells[4] {
			t.Errorf("%v: the partition is %d", cells, got)
		}
	}
}

// TestRecipes wants every row of the recipes to name an example, or to say why there is
// none: rows without one are about what is not needed, not there yet, or a command.
func TestRecipes(t *testing.T) {
	example := regexp.MustCompile("`[a-z]+\\.Example\\w*`")
	none := regexp.MustCompile("^(none|not needed|a prefix|campaign again|the view|built in|`(quorate|client|gridtest|dservice|wait)|a strategy|the partition)")
	rows := 0
	for line := range strings.Lines(pages(t)["docs/recipes.md"]) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "| ") || cells[0] == "| there" {
			continue
		}
		if rows++; len(cells) != 3 || !example.MatchString(cells[2]) && !none.MatchString(cells[1]) {
			t.Errorf("this row has no example: %s", line)
		}
	}
	if rows < 70 {
		t.Errorf("only %d rows", rows)
	}
}

// TestPagesHaveNarrowLines wants prose within 100 columns. Tables, code and the targets of
// links cannot be broken.
func TestPagesHaveNarrowLines(t *testing.T) {
	for file, text := range pages(t) {
		code := false
		for i, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "```") {
				code = !code
			}
			free := code || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "[") || strings.HasPrefix(line, "<")
			if len(line) > 100 && !free && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%s:%d has %d columns", file, i+1, len(line))
			}
		}
	}
}
