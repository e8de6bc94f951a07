package quorate_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// coined are words that this code once made up for what the field has a word for, and
// the word to use. They are refused as a word and as a part of a name.
var coined = map[string]string{
	"ballot":          "pre-vote",
	"come back empty": "rejoin empty",
	"hang up":         "close",
	"let go":          "release",
	"rider":           "piggybacked read",
	"salvage":         "extract",
	"scout":           "refresh the metadata",
	"sow":             "restore",
	"take up":         "campaign",
	"tend":            "reconcile",
}

var letters = regexp.MustCompile(`[A-Za-z]+`)

// parts splits a name of letters at its capitals, in lower case.
func parts(name string) []string {
	var ps []string
	start := 0
	for i, r := range name {
		if i > start && unicode.IsUpper(r) && !unicode.IsUpper(rune(name[i-1])) {
			ps = append(ps, strings.ToLower(name[start:i]))
			start = i
		}
	}
	return append(ps, strings.ToLower(name[start:]))
}

// coinedIn returns the coined word in a name, "" if there is none.
func coinedIn(name string) string {
	ps := parts(name)
	for i := range ps {
		for j := i + 1; j <= min(i+3, len(ps)); j++ {
			word := strings.Join(ps[i:j], " ")
			for _, end := range []string{"", "s", "ed", "ing", "d"} {
				if root := strings.TrimSuffix(word, end); coined[root] != "" && root+end == word {
					return root
				}
			}
		}
	}
	return ""
}

// TestNoCoinedWords keeps names, comments, logs, help and docs to the words of the
// field, which docs/terms.md defines.
func TestNoCoinedWords(t *testing.T) {
	read := []string{".go", ".md", ".txtar", ".py", ".yaml", ".yml", ".json", ".toml"}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && file != "." {
				return fs.SkipDir
			}
			return nil
		}
		if file == "words_test.go" || !slices.Contains(read, filepath.Ext(file)) {
			return nil
		}
		for _, name := range letters.FindAllString(filepath.Base(file), -1) {
			if word := coinedIn(name); word != "" {
				t.Errorf("%s: the name of the file has %q; say %q", file, word, coined[word])
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, name := range letters.FindAllString(line, -1) {
				if word := coinedIn(name); word != "" {
					t.Errorf("%s:%d: %q has %q; say %q", file, n+1, name, word, coined[word])
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCoinedIn shows what the test above finds, and what it leaves alone.
func TestCoinedIn(t *testing.T) {
	for name, want := range map[string]string{
		"takeUp": "take up", "TakeUps": "take up", "tendGroups": "tend", "maybeTended": "tend", "lateRider": "rider", "scouting": "scout", "letGo": "let go",
		"Salvaged": "salvage", "comeBackEmpty": "come back empty", "extend": "", "intended": "", "tendency": "", "letGood": "", "sowed": "sow", "sown": "", "override": "", "ignoreHangups": "", "hangUp": "hang up",
	} {
		if got := coinedIn(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
