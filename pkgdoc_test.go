package quorate_test

import (
	"go/ast"
	"os"
	"path"
	"strings"
	"testing"
)

// TestEveryPackageHasDoc wants one comment that says what the package is.
func TestEveryPackageHasDoc(t *testing.T) {
	docs := map[string][]string{}
	eachFile(t, func(file string, f *ast.File) {
		dir := path.Dir(file)
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		if _, ok := docs[dir]; !ok {
			docs[dir] = nil
		}
		if f.Doc == nil {
			return
		}
		docs[dir] = append(docs[dir], file)
		want := "Package " + f.Name.Name + " "
		if f.Name.Name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		if !strings.HasPrefix(f.Doc.Text(), want) {
			t.Errorf("%s: the package comment does not start with %q", file, want)
		}
	})
	for dir, files := range docs {
		if len(files) != 1 {
			t.Errorf("package %s has a package comment in %d files %v, want 1", dir, len(files), files)
		}
	}
}

// TestModuleStandsAlone keeps `go install` and `go get` working: a module with
// replacements cannot be used by others as it was tested.
func TestModuleStandsAlone(t *testing.T) {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		switch first, _, _ := strings.Cut(strings.TrimSpace(line), " "); first {
		case "replace", "exclude", "toolchain":
			t.Errorf("go.mod has: %s", strings.TrimSpace(line))
		}
	}
}

// TestASCII keeps the source readable in every terminal.
func TestASCII(t *testing.T) {
	eachFile(t, func(file string, _ *ast.File) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			for _, r := range line {
				if r > 126 || r < ' ' && r != '\t' {
					t.Errorf("%s:%d has the character %U", file, i+1, r)
					break
				}
			}
		}
	})
}
