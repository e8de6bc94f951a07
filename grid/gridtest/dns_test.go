package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dservice"
)

// resolver is a stub resolver that asks one member.
func resolver(c *gridtest.Cluster, member int) *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, c.Member(member).DNSAddr())
	}}
}

// hosts is what a member says of a service: addresses in order, or what went wrong.
func hosts(c *gridtest.Cluster, member int, name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := resolver(c, member).LookupHost(ctx, name+".service.quorate.")
	var wrong *net.DNSError
	switch {
	case errors.As(err, &wrong) && wrong.IsNotFound:
		return "none"
	case errors.As(err, &wrong) && wrong.IsTemporary:
		return "not known"
	case err != nil:
		return err.Error()
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// places is where the instances of a service listen, as SRV says it.
func places(c *gridtest.Cluster, member int, name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r := resolver(c, member)
	_, all, err := r.LookupSRV(ctx, name, "tcp", "service.quorate.")
	if err != nil {
		return err.Error()
	}
	var texts []string
	for _, s := range all {
		ips, err := r.LookupHost(ctx, s.Target)
		texts = append(texts, fmt.Sprintf("%d %v %d", s.Priority, ips, s.Port))
		if err != nil {
			return err.Error()
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// TestDNS: every member answers for the instances that can be used, over changes, dead
// processes, dead leaders, and while the grid is away.
func TestDNS(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks(), gridtest.WithConfig(func(_ int, cfg *grid.Config) {
		cfg.DNS = "127.0.0.1:0"
	}))
	ctx := testContext(t)
	living, dying := c.Client(t), c.Client(t, client.WithSessionTTL(2*time.Second))
	s := dservice.New(living, "web")
	all := []int{0, 1, 2}
	want := func(members []int, name, want string) {
		t.Helper()
		for _, i := range members {
			last := ""
			c.Eventually(fmt.Sprintf("member %d to say %q", i, want), func() bool {
				last = hosts(c, i, name)
				return last == want
			})
		}
	}
	want(all, "web", "none")
	register := func(cl *client.Client, id, address string) *dservice.Registration {
		t.Helper()
		reg, err := dservice.New(cl, "web").Register(ctx, dservice.Instance{ID: id, Address: address, Port: 8080, Tags: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		return reg
	}
	a := register(living, "a", "10.0.0.1")
	register(living, "b", "2001:db8::1")
	register(dying, "c", "10.0.0.3")
	want(all, "web", "10.0.0.1 10.0.0.3 2001:db8::1")
	want(all, "a.WEB", "10.0.0.1")
	want(all, "d.web", "none")
	if err := a.Warning(ctx, "slow"); err != nil {
		t.Fatal(err)
	}
	c.Eventually("SRV to say all of them", func() bool {
		return places(c, 1, "web") == "1 [10.0.0.3] 8080, 1 [2001:db8::1] 8080, 2 [10.0.0.1] 8080"
	})
	if err := a.Critical(ctx, "down"); err != nil {
		t.Fatal(err)
	}
	want(all, "web", "10.0.0.3 2001:db8::1")
	if _, err := s.Drain(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	want(all, "web", "10.0.0.3")
	if _, err := s.Undrain(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := dying.Close(); err != nil {
		t.Error(err)
	}
	want(all, "web", "2001:db8::1")

	leader := c.Leader(living, "web", nil)
	c.Kill(leader)
	others := slices.DeleteFunc(slices.Clone(all), func(i int) bool { return i == leader })
	if got := hosts(c, others[0], "web"); got != "2001:db8::1" {
		t.Errorf("while there is no leader: %s", got)
	}
	if err := a.Passing(ctx, ""); err != nil {
		t.Fatal(err)
	}
	want(others, "web", "10.0.0.1 2001:db8::1")

	c.Kill(others[1])
	want(others[:1], "web", "10.0.0.1 2001:db8::1")
	want(others[:1], "never-asked-before", "not known")
	c.Restart(leader)
	if err := c.Member(leader).Ready(ctx); err != nil {
		t.Fatal(err)
	}
	want([]int{leader, others[0]}, "web", "10.0.0.1 2001:db8::1")
	want([]int{leader, others[0]}, "never-asked-before", "none")
}
