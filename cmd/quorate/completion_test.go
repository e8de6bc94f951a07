package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

func TestCandidates(t *testing.T) {
	var g grammar
	parser, err := kong.New(&g, kong.Name("quorate"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		line string
		want []string // nil: none; with "...": at least these
	}{
		{"sta", []string{"start", "status"}},
		{"map ", []string{"...", "get", "put", "list"}},
		{"map get -", []string{"...", "--endpoints", "--output", "--int-key", "--help"}},
		{"status --output ", []string{"text", "json"}},
		{"status --output=", nil},
		{"status --output = j", []string{"json"}},
		{"status -o j", []string{"json"}},
		{"status --wat", []string{"--watch"}},
		{"start --durability ", []string{"disk", "memory"}},
		{"start --insecure --log-format ", []string{"text", "json"}},
		{"start --name start ", nil},
		{"semaphore acquire lock -- ", nil},
		{"completion ", []string{"bash", "zsh", "fish"}},
		{"demo-", nil}, // what is hidden stays so
		{"nonsense --", []string{"--help"}},
	} {
		var got []string
		for _, c := range candidates(parser.Model.Node, strings.Split(test.line, " ")) {
			got = append(got, c.word)
		}
		if len(test.want) > 0 && test.want[0] == "..." {
			for _, w := range test.want[1:] {
				if !slices.Contains(got, w) {
					t.Errorf("%q: no %q in %q", test.line, w, got)
				}
			}
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.line, diff)
		}
	}
}

// TestCompletionInShells runs the scripts in the shells that are here.
func TestCompletionInShells(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// testscript.Main makes this binary quorate where it is called so.
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "quorate")); err != nil {
		t.Skip(err)
	}
	env := append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for shell, script := range map[string]string{
		"bash": completionScripts["bash"] + `
COMP_WORDS=(quorate map ge); COMP_CWORD=2; _quorate; echo "${COMPREPLY[@]}"
COMP_WORDS=(quorate status -o ""); COMP_CWORD=3; _quorate; echo "${COMPREPLY[@]}"
`,
		"fish": completionScripts["fish"] + `
complete -C 'quorate map ge' | string split -f1 \t
complete -C 'quorate status -o ' | string split -f1 \t | string join ' '
`,
		"zsh": completionScripts["zsh"], // that it parses
	} {
		t.Run(shell, func(t *testing.T) {
			binary, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(err)
			}
			if shell == "zsh" {
				script = "compdef() { echo get; echo text json }\n" + script
			}
			c := exec.CommandContext(t.Context(), binary, "-c", script)
			c.Env = env
			out, err := c.CombinedOutput()
			if want := "get\ntext json\n"; err != nil || string(out) != want {
				t.Errorf("%v: %q, want %q", err, out, want)
			}
		})
	}
}
