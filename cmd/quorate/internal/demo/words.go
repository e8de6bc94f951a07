package demo

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goSource returns the source directory of the Go installation.
func goSource() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	root := strings.TrimSpace(string(out))
	if err != nil || root == "" {
		return "", fmt.Errorf("no Go installation found to read its source; name a directory of text with --dir")
	}
	return filepath.Join(root, "src"), nil
}

// goFiles returns the files of the Go source tree that the demo reads, relative
// to root: the library without tests, vendored packages and test data.
func goFiles(root string) ([]string, error) {
	return listFiles(root, func(path string, e fs.DirEntry) bool {
		if e.IsDir() {
			return path != "cmd" && e.Name() != "vendor" && e.Name() != "testdata"
		}
		return strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go")
	})
}

// textFiles returns all files below root that look like text, without hidden
// ones.
func textFiles(root string) ([]string, error) {
	return listFiles(root, func(path string, e fs.DirEntry) bool {
		if strings.HasPrefix(e.Name(), ".") {
			return false
		}
		return e.IsDir() || isText(filepath.Join(root, path))
	})
}

func isText(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, 8<<10)
	n, err := io.ReadFull(f, b)
	if err != nil && err != io.ErrUnexpectedEOF {
		return false
	}
	return bytes.IndexByte(b[:n], 0) < 0
}

// listFiles returns the regular files below root for which want is true,
// relative to root; it looks into the directories for which want is true.
func listFiles(root string, want func(path string, e fs.DirEntry) bool) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case !e.IsDir() && !e.Type().IsRegular():
		case !want(relative, e):
			if e.IsDir() {
				return filepath.SkipDir
			}
		case !e.IsDir():
			files = append(files, relative)
		}
		return nil
	})
	return files, err
}

// countWords adds the words of text to counts and returns how many there are.
// A word is [A-Za-z_][A-Za-z0-9_]*, as in Go.
func countWords(text []byte, counts map[string]int64) int64 {
	var words int64
	for i := 0; i < len(text); {
		if !isLetter(text[i]) {
			i++
			continue
		}
		from := i
		for i++; i < len(text) && (isLetter(text[i]) || '0' <= text[i] && text[i] <= '9'); {
			i++
		}
		word := text[from:i]
		if len(word) > maxWord {
			word = word[:maxWord]
		}
		counts[string(word)]++
		words++
	}
	return words
}

// maxWord keeps a word within what a key may be.
const maxWord = 255

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }
