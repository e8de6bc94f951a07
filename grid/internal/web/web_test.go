package web

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, h func() Health, m func() Metrics) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Start(Config{Listener: l, Health: h, Metrics: m, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 30 * time.Second}
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestHealth(t *testing.T) {
	h := Health{Checks: []Check{{"formed", true, "cluster c"}, {"serves", false, "waits for two"}}}
	base := serve(t, func() Health { return h }, func() Metrics { return nil })
	for _, test := range []struct {
		path string
		code int
		says string
	}{
		{"/livez", 200, "alive\n"},
		{"/readyz", 503, "not ready: serves: waits for two\n"},
		{"/readyz?verbose", 503, "[+] formed: cluster c\n[-] serves: waits for two\nnot ready\n"},
		{"/", 200, "Quorate"},
		{"/else", 404, ""},
	} {
		if code, body := get(t, base+test.path); code != test.code || !strings.Contains(body, test.says) {
			t.Errorf("%s: %d %q, want %d %q", test.path, code, body, test.code, test.says)
		}
	}
	h = Health{Dead: "wrong cluster", Ready: false}
	if code, body := get(t, base+"/livez"); code != 503 || !strings.Contains(body, "wrong cluster") {
		t.Errorf("livez of a dead member: %d %q", code, body)
	}
	h = Health{Ready: true}
	if code, body := get(t, base+"/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
}

func TestMetricsAreThoseDefined(t *testing.T) {
	base := serve(t, func() Health { return Health{} }, func() Metrics {
		m := Metrics{}
		m.Add("group_term", 7, "2")
		m.Add("entries_total", 9)
		m.AddHistogram("operation_seconds", []float64{0.5, 1}, []uint64{1, 2, 3}, 4.5, "map", "read")
		return m
	})
	code, body := get(t, base+"/metrics")
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	for _, line := range []string{
		`quorate_group_term{group="2"} 7`, `quorate_entries_total 9`,
		`quorate_operation_seconds_bucket{class="read",kind="map",le="1"} 3`,
		`quorate_operation_seconds_bucket{class="read",kind="map",le="+Inf"} 6`,
		`quorate_operation_seconds_sum{class="read",kind="map"} 4.5`,
		"# TYPE quorate_entries_total counter",
		"go_goroutines ",
	} {
		if !strings.Contains(body, line+"\n") && !strings.Contains(body, "\n"+line) {
			t.Errorf("no %q in\n%s", line, body)
		}
	}
}

func TestDefinitionsAreWellNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Definitions {
		if seen[d.Name] || d.Help == "" {
			t.Errorf("%s: defined twice, or without help", d.Name)
		}
		seen[d.Name] = true
		if (d.Type == Counter) != strings.HasSuffix(d.Name, "_total") {
			t.Errorf("%s: counters, and only they, end in _total", d.Name)
		}
	}
}

func TestProfilesAreForThisMachine(t *testing.T) {
	base := serve(t, func() Health { return Health{} }, func() Metrics { return nil })
	if code, _ := get(t, base+"/debug/pprof/cmdline"); code != 200 {
		t.Errorf("from this machine: %d", code)
	}
	r, err := http.NewRequest("GET", base+"/debug/pprof/heap", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.example:80" // a name that resolves to loopback
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 403 {
		t.Errorf("by a foreign name: %d", answer.StatusCode)
	}
	for address, want := range map[string]bool{
		"127.0.0.1:5": true, "[::1]:5": true, "::1": true, "10.0.0.1:5": false, "": false, "localhost": true,
	} {
		if isLoopback(address) != want {
			t.Errorf("%q: loopback %v", address, !want)
		}
	}
}

// Callers that do not send, or do not go away, hold up neither others nor Close.
func TestSlowCallers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Start(Config{
		Listener: l, Health: func() Health { return Health{} }, Metrics: func() Metrics { return nil },
		Logger: slog.New(slog.DiscardHandler),
	})
	var conns []net.Conn
	for range maxConnections + 8 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	// The slow ones are cut off after headerTimeout; this one waits until then.
	if code, _ := get(t, "http://"+l.Addr().String()+"/livez"); code != 200 {
		t.Errorf("livez behind slow callers: %d", code)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range conns {
		c.Close()
	}
}
