package kinds_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestOneFolderAndOneLine adds a structure as one folder, testdata/dregister, and one
// line in package kinds, which the compiler is given instead, and looks whether everything that
// goes by the kinds knows it: the conformance suite, docs/protocol.json, the tables of
// the pages, and of a real grid the commands for structures of any kind, completion
// and metrics.
func TestOneFolderAndOneLine(t *testing.T) {
	temp := t.TempDir()
	overlay := addRegister(t, temp)
	goTool(t, nil, "test", "-count=1", "-overlay", overlay, "-run=TestConformance|FuzzMachine", "./testdata/dregister")

	pages := filepath.Join(temp, "docs")
	if err := os.CopyFS(pages, os.DirFS(filepath.Join("..", "docs"))); err != nil {
		t.Fatal(err)
	}
	goTool(t, nil, "test", "-count=1", "-overlay", overlay, "-run=TestPages|TestProtocolFile", ".", "-rewrite", "-docs", pages)
	for file, texts := range map[string][]string{
		"protocol.json": {`"name": "register"`, `"name": "most-bytes"`},
		"protocol.md":   {"### Register (kind 99)\n\nOne value, which", "| 3 | G swap | `[old: value, new: value]` | `[]`; 1000, 1001 |"},
		"guarantees.md": {"| register | One value, which"},
	} {
		b, err := os.ReadFile(filepath.Join(pages, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			if !strings.Contains(string(b), text) {
				t.Errorf("%s has no %q", file, text)
			}
		}
	}

	binary := filepath.Join(temp, "quorate")
	goTool(t, nil, "build", "-overlay", overlay, "-o", binary, "../cmd/quorate")
	address, metrics := startMember(t, binary)
	environment := append(os.Environ(), "QUORATE_ENDPOINTS="+address)
	goTool(t, environment, "test", "-count=1", "-overlay", overlay, "-run=TestSet", "./testdata/dregister")
	for _, c := range []struct{ command, want string }{
		{"ls", `(?m)^register +thrown-away +1 `},
		{"ls register", `thrown-away`},
		{"inspect register thrown-away", `(?m)^length +1 values$`},
		{"configure register thrown-away most-bytes=7", `^$`},
		{"configure register thrown-away", `(?m)^most-bytes +7 +0 +bytes of a value`},
		{"complete-words -- quorate inspect reg", `(?m)^register`},
		{"complete-words -- quorate inspect register th", `(?m)^thrown-away`},
		{"destroy register thrown-away", `^$`},
		{"ls -o json", `^$`},
	} {
		cmd := exec.CommandContext(t.Context(), binary, strings.Fields(c.command)...)
		cmd.Env = environment
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || !regexp.MustCompile(c.want).Match(out) {
			t.Errorf("quorate %s: %v\n%s%s", c.command, err, out, stderr.Bytes())
		}
	}
	answer, err := http.Get(metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := `quorate_operations_total{kind="register",op="set"} 1`; !strings.Contains(string(text), want) {
		t.Errorf("metrics have no %s", want)
	}
}

// addRegister writes an overlay in which package kinds has a line more.
func addRegister(t *testing.T, temp string) string {
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("kinds.go")
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(source), "\t\tdqueue.Kind(),\n", "\t\tdqueue.Kind(),\n\t\tdregister.Kind(),\n", 1)
	with = strings.Replace(with, "structures/dqueue\"\n", "structures/dqueue\"\n\t\"github.com/quorate/quorate/kinds/testdata/dregister\"\n", 1)
	list := filepath.Join(temp, "kinds.go")
	if err := os.WriteFile(list, []byte(with), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "kinds.go"): list}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// goTool runs the go command.
func goTool(t *testing.T, environment []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = environment
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// startMember starts a grid of one member, and returns its address and where its
// metrics are.
func startMember(t *testing.T, binary string) (address, metrics string) {
	cmd := exec.CommandContext(t.Context(), binary, "start", "--durability", "memory", "--end-with-stdin",
		"--name", "n1", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
	end, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	logged, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = logged
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = end.Close()
		done := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer done.Stop()
		_ = cmd.Wait()
		_ = logged.Close()
	})
	line, _ := bufio.NewReader(out).ReadString('\n')
	log, _ := os.ReadFile(logged.Name())
	ready := regexp.MustCompile(` address=(\S+) `).FindStringSubmatch(line)
	served := regexp.MustCompile(`(127\.0\.0\.1:\d+)`).FindAllString(string(log), -1)
	if ready == nil || len(served) == 0 {
		t.Fatalf("it says %q\n%s", line, log)
	}
	for _, a := range served {
		if a != ready[1] && !strings.HasSuffix(a, ":0") {
			metrics = "http://" + a + "/metrics"
		}
	}
	return ready[1], metrics
}
