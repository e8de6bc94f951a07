package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	structurecmd "github.com/quorate/quorate/cmd/quorate/internal/structures"
	"github.com/quorate/quorate/structures"
)

// fuzzedParser returns a parser of the command line that prints nothing.
func fuzzedParser(tb testing.TB) *kong.Kong {
	tb.Helper()
	parser, err := kong.New(new(grammar), kong.Name("quorate"), structurecmd.Vars(), kong.Writers(io.Discard, io.Discard),
		kong.Exit(func(int) { panic(helpShown{}) }))
	if err != nil {
		tb.Fatal(err)
	}
	return parser
}

// FuzzCommandLine shows that any arguments are understood or refused.
func FuzzCommandLine(f *testing.F) {
	for _, line := range []string{
		"map put users ada {\"logins\":1} --ttl 1m", "counter add hits -5", "semaphore acquire w -n 2 --wait 1s -- sleep 1",
		"queue take jobs -n 3 -o json", "start --name n1 --join a:1,b:2 --bootstrap-expect 3", "verify --duration 1s --faults kill", "--help",
	} {
		f.Add(strings.ReplaceAll(line, " ", "\n"))
	}
	parser := fuzzedParser(f)
	f.Fuzz(func(_ *testing.T, line string) {
		args := strings.Split(line, "\n")
		for _, arg := range args {
			if strings.HasPrefix(arg, "--c") || strings.ContainsRune(arg, os.PathSeparator) {
				return // no files of the machine
			}
		}
		_ = cli.WantsJSON(args)
		_, _ = parse(parser, args)
	})
}

// FuzzCompletion shows that any words before the cursor have candidates or none,
// and that every candidate is the last word with something behind it.
func FuzzCompletion(f *testing.F) {
	for _, line := range []string{"", "ma", "map\nput\n--t", "status\n--output=j", "inspect\nmap\nu", "configure\nqueue\njobs\nc", "completion\n", "semaphore\nacquire\nw\n--\nsle", "--endpoints\na:1\ncounter\n"} {
		f.Add(line)
	}
	// No grid is asked: words may name any address.
	nobody, cancel := context.WithCancel(f.Context())
	cancel()
	parser := fuzzedParser(f)
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Split(line, "\n")
		last := words[len(words)-1]
		for _, c := range candidates(nobody, parser.Model.Node, words) {
			if !strings.HasPrefix(c.word, last) || strings.ContainsAny(c.word+c.help, "\t\n") {
				t.Errorf("%q is offered for %q", c, words)
			}
		}
	})
}

// FuzzConfigFile shows that a configuration file of any bytes is read or
// refused.
func FuzzConfigFile(f *testing.F) {
	f.Add([]byte("name: n1\njoin: [10.0.0.1:7170, 10.0.0.2:7170]\nbootstrap-expect: 3\nslow-op: 1s\n"))
	f.Add([]byte("nmae: n1\n"))
	f.Add([]byte("name: {a: &x [1, *x]}\n"))
	start := fuzzedParser(f).Model.Children[0]
	if start.Name != "start" {
		f.Fatalf("the first command is %s", start.Name)
	}
	flags := member.SettingFlags(start)
	file := filepath.Join(f.TempDir(), "quorate.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = member.LoadSettings(file, flags, nil)
	})
}

// FuzzValue shows that a value of the command line is stored as JSON or as
// text, and can be shown again.
func FuzzValue(f *testing.F) {
	for _, s := range []string{`{"a": [1, 2.5, null]}`, "text", "-1", "1e400", `"\ud800"`, "123456789012345678901234567890"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := cli.Form{}.Read(&cli.App{}, s)
		if err != nil {
			t.Fatal(err)
		}
		b, err := structures.AppendValue(nil, structures.CBOR, v)
		if err != nil {
			return // nested too deep
		}
		if s := cli.Show(b); s.Err != nil || strings.ContainsAny(s.Line, "\t\n\r") {
			t.Errorf("%q, %q, %v", s.Text, s.Line, s.Err)
		}
	})
}
