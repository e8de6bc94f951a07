package grid_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/internal/web"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/txn"
)

// fetch gets a path of a member's HTTP listener.
func fetch(t *testing.T, m *grid.Member, path string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: waitTimeout}
	r, err := c.Get("http://" + m.HTTPAddr() + path)
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

func TestHTTP(t *testing.T) {
	m := start(t, grid.Config{DataDir: t.TempDir(), BootstrapExpect: 2, Name: "a", HTTP: grid.HTTPAuto, Cluster: "watched"})
	if code, body := fetch(t, m, "/livez"); code != 200 {
		t.Errorf("livez: %d %s", code, body)
	}
	eventually(t, "readyz says what is waited for", func() bool {
		code, body := fetch(t, m, "/readyz")
		return code == 503 && strings.Contains(body, "1 of 2 are seen")
	})
	other := start(t, grid.Config{DataDir: t.TempDir(), BootstrapExpect: 2, Name: "b", Join: []string{m.Addr()}, Cluster: "watched"})
	ready(t, m)
	ready(t, other)
	if other.HTTPAddr() != "" {
		t.Errorf("an HTTP listener that nobody asked for at %s", other.HTTPAddr())
	}
	eventually(t, "readyz is green in all parts", func() bool {
		code, body := fetch(t, m, "/readyz?verbose")
		return code == 200 && strings.Contains(body, "[+] formed: cluster watched\n[+] serves\n[+] leaders") && !strings.Contains(body, "[-]")
	})

	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	waiting := make(chan error, 1)
	go func() {
		_, err := dqueue.New[int](m.Client(), "jobs").Take(ctx)
		waiting <- err
	}()
	_, body := fetch(t, m, "/metrics")
	if err := dqueue.New[int](m.Client(), "jobs").Put(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`quorate_info{cluster="watched",durability="disk",member="a",version=`, `quorate_ready 1`,
		`quorate_members{state="serving"} 2`, `quorate_connections{purpose="client"}`,
		`quorate_group_has_leader{group="1"} 1`, `quorate_group_replicas{group="2",state="voter"}`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("metrics have no line %q", line)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

// A member of one, after a bit of everything, shows every metric that is
// defined, and docs/operations.md explains each.
func TestMetricsAreDocumented(t *testing.T) {
	m := start(t, grid.Config{DataDir: t.TempDir(), Name: "a", HTTP: "127.0.0.1:0", DNS: "127.0.0.1:0"})
	ready(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	users := dmap.New[string, int](m.Client(), "users")
	for _, key := range []string{"ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ida", "joe"} {
		if err := users.Put(ctx, key, 1); err != nil {
			t.Fatal(err)
		}
		if _, _, err := users.Get(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"hits", "misses", "sales", "visits"} {
		if _, err := dcounter.New(m.Client(), name).Add(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	hits := dcounter.New(m.Client(), "hits").Txn()
	for _, n := range []int64{1, 1, 5} {
		if _, err := txn.New(m.Client()).If(hits.IfEqual(n)).Then(hits.Add(1)).Else(hits.Get()).Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// A request that is turned down.
	if _, err := net.Dial("tcp", m.Addr()); err != nil {
		t.Fatal(err)
	}
	// Go's resolver asks for A and AAAA.
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, m.DNSAddr())
	}}
	if all, err := resolver.LookupHost(ctx, "web.service.quorate."); err == nil {
		t.Errorf("of no service: %v", all)
	}
	docs, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, body := fetch(t, m, "/metrics")
	for _, line := range []string{
		`quorate_operations_total{kind="map",op="put"} 10`, `quorate_operations_total{kind="map",op="get"} 10`,
		`quorate_operations_total{kind="counter",op="add"} 4`, `quorate_operation_seconds_count{class="write",kind="map"} 10`,
		`quorate_operation_seconds_count{class="read",kind="map"} 10`,
		`quorate_operations_total{kind="transaction",op="commit"} 3`,
		`quorate_transaction_operations_count 3`, `quorate_transaction_operations_sum 3`, `quorate_watches{mode="row"} 0`,
		`quorate_dns_queries_total{transport="udp"} 2`, `quorate_dns_responses_total{rcode="NXDOMAIN"} 2`, `quorate_dns_mirrors 1`,
		`quorate_transactions_total{outcome="then"} 1`, `quorate_transactions_total{outcome="else"} 2`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("metrics have no line %q in\n%s", line, body)
		}
	}
	for _, name := range web.Names() {
		// Only a member with a limit has one, only one that refused has refusals.
		sometimes := slices.Contains([]string{"quorate_memory_limit_bytes", "quorate_refused_total"}, name)
		if !strings.Contains(body, "# TYPE "+name+" ") && !sometimes {
			t.Errorf("%s is defined and not shown", name)
		}
		if !strings.Contains(string(docs), "`"+name+"`") {
			t.Errorf("%s is not in docs/operations.md", name)
		}
	}
	for _, name := range regexp.MustCompile("`(quorate_[a-z_]+)`").FindAllSubmatch(docs, -1) {
		if !slices.Contains(web.Names(), string(name[1])) {
			t.Errorf("docs/operations.md has %s, which does not exist", name[1])
		}
	}
}

// TestInstances: the members together show each instance of services and presences once,
// wherever the leaders are, and none whose session has ended.
func TestInstances(t *testing.T) {
	members := []*grid.Member{start(t, grid.Config{DataDir: t.TempDir(), BootstrapExpect: 2, Name: "a", HTTP: "127.0.0.1:0"})}
	members = append(members, start(t, grid.Config{DataDir: t.TempDir(), BootstrapExpect: 2, Name: "b", HTTP: "127.0.0.1:0", Join: []string{members[0].Addr()}}))
	ready(t, members[0])
	ready(t, members[1])
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	expect := func(what string, want map[string]int) {
		t.Helper()
		eventually(t, what, func() bool {
			sums := map[string]int{}
			for _, m := range members {
				_, body := fetch(t, m, "/metrics")
				for _, v := range regexp.MustCompile(`(?m)^quorate_instances\{kind="(\w+)",state="(\w+)"\} (\d+)$`).FindAllStringSubmatch(body, -1) {
					n, err := strconv.Atoi(v[3])
					if err != nil {
						t.Fatal(err)
					}
					sums[v[1]+" "+v[2]] += n
				}
			}
			return len(sums) == 8 && !slices.ContainsFunc(slices.Collect(maps.Keys(sums)), func(s string) bool { return sums[s] != want[s] })
		})
	}
	expect("nothing is registered", nil)
	c, err := client.Dial(ctx, []string{members[0].Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 20 {
		web := dservice.New(c, fmt.Sprint("web", i))
		if _, err := web.Register(ctx, dservice.Instance{ID: "a", Address: "10.0.0.1", Port: 80}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := web.Drain(ctx, "a"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := dpresence.New[string](c, "workers").Join(ctx, "w"); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"service passing": 20, "service drained": 1, "presence passing": 1}
	expect("20 services and a presence", want)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	expect("they have gone with the session", map[string]int{"service drained": 1})
}

func TestHTTPAddresses(t *testing.T) {
	m := start(t, grid.Config{DataDir: t.TempDir(), HTTP: "127.0.0.1:0"})
	_, err := grid.Start(t.Context(), grid.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", HTTP: m.HTTPAddr()})
	says(t, err, "http", "in use", "choose another --http address, or off")
	says(t, grid.Config{DataDir: "d", HTTP: "10.0.0.1:80"}.Validate(), "http", "insecure")
	says(t, grid.Config{DataDir: "d", HTTP: "metrics"}.Validate(), "HOST:PORT")
}

func TestDNSAddresses(t *testing.T) {
	m := start(t, grid.Config{DataDir: t.TempDir(), DNS: "127.0.0.1:0"})
	other := start(t, grid.Config{DataDir: t.TempDir(), DNS: grid.DNSOff})
	if m.DNSAddr() == "" || other.DNSAddr() != "" {
		t.Errorf("%q, and %q if it is off", m.DNSAddr(), other.DNSAddr())
	}
	_, err := grid.Start(t.Context(), grid.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", DNS: m.DNSAddr()})
	says(t, err, "dns", "in use", "choose another --dns address, or off")
	says(t, grid.Check(grid.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", DNS: m.DNSAddr()}), "dns", "in use")
	packets := busyUDP(t)
	defer packets.Close()
	_, err = grid.Start(t.Context(), grid.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", DNS: packets.LocalAddr().String()})
	says(t, err, "dns", "in use", "free for TCP and UDP")
	says(t, grid.Config{DataDir: "d", DNS: "10.0.0.1:53"}.Validate(), "dns", "insecure")
	says(t, grid.Config{DataDir: "d", DNS: "auto"}.Validate(), "dns", "HOST:PORT")
}

// A slow operation is told of, with where the time went; fast ones are not.
func TestSlowOperations(t *testing.T) {
	var log lockedBuffer
	m := start(t, grid.Config{
		DataDir: t.TempDir(), Name: "a", SlowOp: time.Nanosecond, HTTP: "127.0.0.1:0",
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	ready(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	hits := dcounter.New(m.Client(), "hits")
	for range 20 {
		if _, err := hits.Add(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	line := regexp.MustCompile(`level=WARN msg="slow operation" member=a kind=counter name=hits op=add group=\d+ partition=\d+ term=\d+ took=\S+ queued=\S+ replicated=\S+ applied=\S+ suppressed=`)
	if !line.MatchString(log.String()) {
		t.Errorf("no line of a slow operation in\n%s", log.String())
	}
	if n := strings.Count(log.String(), "slow operation"); n > 15 {
		t.Errorf("%d warnings of 20 operations: they are not held back", n)
	}
	if _, body := fetch(t, m, "/metrics"); !regexp.MustCompile(`quorate_slow_operations_total [2-9]\d`).MatchString(body) {
		t.Errorf("slow operations are not counted:\n%s", body)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
