package quorate_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRulesAreCited holds the code and docs/rules.md together: what a file cites is a
// rule of that page, and each rule is cited where the code keeps it.
func TestRulesAreCited(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]int{}
	prefixes := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (([A-Z]+)-[0-9]+) \|`).FindAllStringSubmatch(string(page), -1) {
		if _, twice := rules[m[1]]; twice {
			t.Errorf("%s is there twice", m[1])
		}
		rules[m[1]], prefixes[m[2]] = 0, true
	}
	if len(rules) < 20 {
		t.Fatalf("the page has only %d rules", len(rules))
	}
	for _, m := range regexp.MustCompile("`([A-Z]{2,})`").FindAllStringSubmatch(string(page), -1) {
		prefixes[m[1]] = true // reserved
	}
	name := regexp.MustCompile(`\b([A-Z]{2,})-[0-9]+\b`)
	err = filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		cites := strings.HasSuffix(file, ".go") || strings.HasSuffix(file, ".md") && file != filepath.Join("docs", "rules.md")
		if d.IsDir() || !cites {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range name.FindAllStringSubmatch(string(text), -1) {
			if !prefixes[m[1]] {
				continue // UTF-8 and the like
			}
			n, ok := rules[m[0]]
			if !ok {
				t.Errorf("%s cites %s, which docs/rules.md does not have", file, m[0])
			}
			if strings.HasSuffix(file, ".go") {
				rules[m[0]] = n + 1
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for rule, n := range rules {
		if n == 0 {
			t.Errorf("no Go file cites %s", rule)
		}
	}
}
