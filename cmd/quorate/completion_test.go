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
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	"github.com/quorate/quorate/cmd/quorate/internal/structures"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
)

func TestCandidates(t *testing.T) {
	var g grammar
	parser, err := kong.New(&g, kong.Name("quorate"), structures.Vars())
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
		{"status --output=", []string{"--output=text", "--output=json"}},
		{"status --output=j", []string{"--output=json"}},
		{"status -o j", []string{"json"}},
		{"status --wat", []string{"--watch"}},
		{"start --durability ", []string{"disk", "memory"}},
		{"start --insecure --log-format ", []string{"text", "json"}},
		{"start --name start ", nil},
		{"semaphore acquire lock -- ", nil},
		{"completion ", []string{"bash", "zsh", "fish"}},
		{"demo-", nil}, // what is hidden stays so
		{"nonsense --", []string{"--help"}},
		{"ls ", structures.KindNames(kinds.All())},
		{"ls --output json qu", []string{"queue"}},
		{"inspect sem", []string{"semaphore"}},
		{"inspect -o json map us", nil}, // nobody answers
		{"configure map users ", []string{"keep-old=", "ttl="}},
		{"configure queue jobs cap", []string{"capacity="}},
		{"configure queue jobs capacity=", []string{"capacity="}},
		{"configure queue jobs capacity=3 ", nil},
		{"configure counter hits ", nil},
		{"configure tables x ", nil},
	} {
		var got []string
		for _, c := range candidates(t.Context(), parser.Model.Node, strings.Split(test.line, " ")) {
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

// TestCompletionAsksTheGrid: the names of structures come from the grid that the
// command would go to.
func TestCompletionAsksTheGrid(t *testing.T) {
	g, address := completionGrid(t)
	t.Setenv("QUORATE_ENDPOINTS", "127.0.0.1:1")
	parser, err := kong.New(new(grammar), kong.Name("quorate"), structures.Vars())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		line string
		want []string
	}{
		{"inspect --endpoints " + address + " map ", []string{"users", "users:2", "{ada}friends"}},
		{"inspect map us --endpoints=" + address + " ", nil}, // both are given
		{"map get --endpoints=" + address + " users", []string{"users", "users:2"}},
		{"map get --endpoints=" + address + " users k", nil},
		{"destroy --endpoints=" + address + " queue ", nil}, // one that no shell takes as it is
		{"map get users", nil}, // nobody answers there
	} {
		var got []string
		for _, c := range candidates(t.Context(), parser.Model.Node, strings.Split(test.line, " ")) {
			got = append(got, c.word)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.line, diff)
		}
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// completionGrid starts a grid with a few structures in it.
func completionGrid(t *testing.T) (*member.DevGrid, string) {
	t.Helper()
	ctx := t.Context()
	g, err := member.StartDev(ctx, member.DevConfig{Members: 1, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(ctx, g.Addresses())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"users", "users:2", "{ada}friends"} {
		for _, key := range []string{"a", "b", "c"} {
			if err := dmap.New[string, int](c, name).Put(ctx, key, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := dqueue.New[string](c, "two words").Put(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	return g, g.Addresses()[0]
}

// TestCompletionInShells runs the scripts in the shells that are here.
func TestCompletionInShells(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g, address := completionGrid(t)
	defer g.Close()
	// testscript.Main makes this binary quorate where it is called so.
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "quorate")); err != nil {
		t.Skip(err)
	}
	env := append(os.Environ(), "QUORATE_ENDPOINTS="+address, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for shell, script := range map[string]string{
		"bash": completionScripts["bash"] + `
compopt() { echo "$2"; }
complete_line() { COMP_LINE=$1; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _quorate; echo "${COMPREPLY[*]}"; }
complete_line "quorate map ge" quorate map ge
complete_line "quorate status -o " quorate status -o ""
complete_line "quorate status --output=j" quorate status --output = j
complete_line "quorate inspect map users:" quorate inspect map users :
complete_line "quorate  configure queue jobs cap" quorate configure queue jobs cap
`,
		"fish": completionScripts["fish"] + `
complete -C 'quorate map ge' | string split -f1 \t
complete -C 'quorate status -o ' | string split -f1 \t | string join ' '
complete -C 'quorate status --output=j' | string split -f1 \t
complete -C 'quorate inspect map users:' | string split -f1 \t
complete -C 'quorate configure queue jobs cap' | string split -f1 \t
complete -C 'quorate queue put jobs completion_t' | string split -f1 \t
true
`,
		"zsh": `
compdef() { :; }
_files() { echo files; }
_describe() { local -a all; all=("${(@P)2}"); echo "${all[@]%%:[A-Zah]*}" ${@[3,-1]}; }
` + completionScripts["zsh"] + `
complete_line() { words=("$@"); CURRENT=$#; _quorate; }
complete_line quorate map ge
complete_line quorate status -o ""
complete_line quorate status --output=j
complete_line quorate inspect map users:
complete_line quorate configure queue jobs cap
complete_line quorate queue put jobs ./
`,
	} {
		want := map[string]string{
			"bash": "get\ntext json\njson\n2\nnospace\ncapacity=\n",
			"fish": "get\njson text\n--output=json\nusers:2\ncapacity=\ncompletion_test.go\n",
			"zsh":  "get\ntext json\n--output=json\nusers\\:2\ncapacity= -S\nfiles\n",
		}
		t.Run(shell, func(t *testing.T) {
			binary, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(err)
			}
			c := exec.CommandContext(t.Context(), binary, "-c", script)
			c.Env = env
			out, err := c.CombinedOutput()
			if err != nil || string(out) != want[shell] {
				t.Errorf("%v: %q, want %q", err, out, want[shell])
			}
		})
	}
}
