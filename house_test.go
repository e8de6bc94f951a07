package quorate_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// The house stays one that a reader can hold in the head.
const (
	maxFiles   = 25  // of a package, tests apart
	maxLines   = 800 // of a file
	maxBody    = 80  // lines of a function
	maxMethods = 40  // of a type
)

// TestSizes names the packages, files, functions and types that have more than one
// idea, by their size.
func TestSizes(t *testing.T) {
	files := map[string]int{}
	methods := map[string]int{}
	check := func(what string, n, most int) {
		if n > most {
			t.Errorf("%s is %d, more than %d: it is more than one idea", what, n, most)
		}
	}
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(file))
		files[pkg]++
		check("lines of "+file, fset.Position(f.FileEnd).Line, maxLines)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := fn.Name.Name
			if fn.Recv != nil {
				typ := receiver(fn.Recv.List[0].Type)
				methods[pkg+"."+typ]++
				name = typ + "." + name
			}
			check(fmt.Sprintf("lines of %s.%s", pkg, name), fset.Position(fn.End()).Line-fset.Position(fn.Pos()).Line+1, maxBody)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg, n := range files {
		check("files of "+pkg, n, maxFiles)
	}
	for typ, n := range methods {
		check("methods of "+typ, n, maxMethods)
	}
	if len(files) < 20 {
		t.Errorf("only %d packages were read", len(files))
	}
}

// receiver returns the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}
