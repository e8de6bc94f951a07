package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
)

// What is in deploy/ is not run by anybody here, so the tests hold it against a
// member: every metric that a rule or a panel names is one that a member shows.

func deployFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// shownMetrics returns the names of the series of a member that has served.
func shownMetrics(t *testing.T) map[string]bool {
	t.Helper()
	m, err := grid.Start(t.Context(), grid.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := dcounter.New(m.Client(), "hits").Add(ctx, 1); err != nil {
		t.Fatal(err)
	}
	r, err := http.Get("http://" + m.HTTPAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{
		// Those that a member shows only after the fact, or with a limit.
		"quorate_refused_total": true, "quorate_memory_limit_bytes": true,
	}
	for _, name := range regexp.MustCompile(`(?m)^(\w+)[{ ]`).FindAllSubmatch(b, -1) {
		shown[string(name[1])] = true
	}
	return shown
}

var metricName = regexp.MustCompile(`\b(quorate|go|process)_\w+`)

func TestAlertsAndDashboardNameRealMetrics(t *testing.T) {
	shown := shownMetrics(t)
	var expressions []string
	expressions = append(expressions, alertExpressions(t)...)
	expressions = append(expressions, dashboardExpressions(t)...)
	named := 0
	for _, e := range expressions {
		for _, name := range metricName.FindAllString(e, -1) {
			named++
			if !shown[name] {
				t.Errorf("%s, in %q, is no metric of a member", name, e)
			}
		}
		for _, pair := range []string{"()", "{}", "[]"} {
			if strings.Count(e, pair[:1]) != strings.Count(e, pair[1:]) {
				t.Errorf("brackets do not match in %q", e)
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d names were found", named)
	}
	ops := operationNames()
	for _, e := range expressions {
		for _, m := range regexp.MustCompile(`\bop=~?"([^"]*)"`).FindAllStringSubmatch(e, -1) {
			for op := range strings.SplitSeq(m[1], "|") {
				if !ops[op] {
					t.Errorf("%s, in %q, is no operation of a kind", op, e)
				}
			}
		}
	}
}

// operationNames are the names of the operations of all kinds.
func operationNames() map[string]bool {
	names := map[string]bool{}
	for _, k := range kinds.All() {
		for op := range 256 {
			names[k.OpName(protocol.Op(op))] = true
		}
	}
	delete(names, "")
	return names
}

// alertExpressions checks the form of the rules and returns their expressions.
func alertExpressions(t *testing.T) []string {
	t.Helper()
	rules, err := yaml.Parser().Unmarshal(deployFile(t, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	docs := operationsAnchors(t)
	names := map[string]bool{}
	for _, g := range rules["groups"].([]any) {
		for _, r := range g.(map[string]any)["rules"].([]any) {
			rule := r.(map[string]any)
			name, _ := rule["alert"].(string)
			severity, _ := rule["labels"].(map[string]any)["severity"].(string)
			notes := rule["annotations"].(map[string]any)
			if name == "" || names[name] || severity != "warning" && severity != "critical" || notes["summary"] == nil || notes["description"] == nil {
				t.Errorf("rule %q: it needs a name of its own, a severity, a summary and a description", name)
			}
			names[name] = true
			if runbook, _ := notes["runbook"].(string); !docs[runbook] {
				t.Errorf("rule %s: docs/operations.md has no %q", name, runbook)
			}
			if d, ok := rule["for"].(string); ok {
				if _, err := time.ParseDuration(d); err != nil {
					t.Errorf("rule %s: %v", name, err)
				}
			}
			e, _ := rule["expr"].(string)
			all = append(all, e)
		}
	}
	return all
}

// operationsAnchors are the names of the headings of docs/operations.md.
func operationsAnchors(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllSubmatch(b, -1) {
		s := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(string(h[1])), "")
		anchors["#"+strings.ReplaceAll(s, " ", "-")] = true
	}
	return anchors
}

// dashboardExpressions checks the form of the panels and returns their
// expressions.
func dashboardExpressions(t *testing.T) []string {
	t.Helper()
	type panel struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr, RefID string }
	}
	var d struct {
		Title, UID string
		Panels     []panel
	}
	if err := json.Unmarshal(deployFile(t, "grafana-dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || len(d.Panels) == 0 {
		t.Fatalf("not a dashboard: %+v", d)
	}
	var all []string
	for i, p := range d.Panels {
		if p.Title == "" || p.GridPos.X+p.GridPos.W > 24 || (p.Type != "row") != (len(p.Targets) > 0) {
			t.Errorf("panel %d %q: title, place or targets are wrong", p.ID, p.Title)
		}
		for _, o := range d.Panels[:i] {
			a, b := p.GridPos, o.GridPos
			if p.ID == o.ID || a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q have one number or one place", p.Title, o.Title)
			}
		}
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

// The example configuration is one, once the cluster has a name of its own.
func TestDeployedConfigurationIsValid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quorate.yaml")
	example := string(deployFile(t, "quorate.yaml"))
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	unnamed := &cli.App{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
	if code := run(unnamed, []string{"start", "--config", file, "--print-config"}); code != cli.ExitConfig {
		t.Errorf("exit status %d without a name of its own", code)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(example, "CHANGE-ME", "orders", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems strings.Builder
	a := &cli.App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems}
	if code := run(a, []string{"start", "--config", file, "--print-config"}); code != cli.ExitDone || problems.Len() > 0 {
		t.Errorf("exit status %d: %s", code, problems.String())
	}
	if !strings.Contains(out.String(), `join: ["127.0.0.1:7170","127.0.0.1:7180","127.0.0.1:7190"]  # `+file) {
		t.Error(out.String())
	}
}

func TestUnit(t *testing.T) {
	unit := string(deployFile(t, "quorate.service"))
	value := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(unit)
		if m == nil {
			t.Fatalf("no %s", key)
		}
		return m[1]
	}
	stop, err := time.ParseDuration(value("TimeoutStopSec") + "s")
	if err != nil || stop <= grid.DefaultShutdownTimeout+member.CloseGrace {
		t.Errorf("TimeoutStopSec %v, --shutdown-timeout %v, %v", stop, grid.DefaultShutdownTimeout, err)
	}
	if value("RestartPreventExitStatus") != fmt.Sprint(cli.ExitConfig) {
		t.Error("a wrong configuration would be tried again and again")
	}
	if cli.ExitConfig == 2 || value("StartLimitIntervalSec") != "0" {
		t.Error("a member that has panicked, as on a disk that fails, would not be started again")
	}
	a := &cli.App{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
	if code := run(a, []string{"start", "--groups=-1"}); code != cli.ExitConfig {
		t.Errorf("exit status %d of a wrong configuration", code)
	}
	args := strings.Fields(value("ExecStart"))
	if !slices.Equal(args[1:], []string{"start", "--config", "/etc/quorate/quorate.yaml"}) {
		t.Errorf("it starts %q", args)
	}

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip(err)
	}
	// It wants the binary to be there.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "quorate.service")
	if err := os.WriteFile(file, []byte(strings.Replace(unit, args[0], self, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
	// Other units of the machine may be wrong: only lines of ours count.
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "quorate.service") {
			t.Error(line)
		}
	}
	if err != nil {
		t.Logf("systemd-analyze: %v: %s", err, out)
	}
}
