package grid_test

import (
	"testing"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
)

// TestUnformedFounderGivesUp starts a founder that crashed before its cluster
// was formed, and a member that had given itself to it, beside a cluster that
// was formed in the meantime: both must end up there.
func TestUnformedFounderGivesUp(t *testing.T) {
	formed := start(t, grid.Config{DataDir: t.TempDir(), Name: "formed"})
	ready(t, formed)
	want := status(t, formed).Cluster

	founderDir, givenDir := t.TempDir(), t.TempDir()
	cluster := identity.NewUUID()
	var founder protocol.UUID
	prepare := func(dir, name string) {
		d, err := identity.Open(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		err = d.Update(func(m *identity.Member) {
			if founder == (protocol.UUID{}) {
				founder = m.Incarnation
			}
			m.Cluster, m.ClusterName, m.Founder = cluster, "quorate", founder
			m.Durability, m.Partitions, m.Groups, m.Replicas = "disk", 271, 3, 3
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	prepare(founderDir, "founder")
	prepare(givenDir, "given")

	// First without the formed cluster, so that the founder has somebody to
	// release.
	given := start(t, grid.Config{DataDir: givenDir, Name: "given", BootstrapExpect: 3})
	first := start(t, grid.Config{DataDir: founderDir, Name: "founder", BootstrapExpect: 3, Join: []string{given.Addr()}})
	eventually(t, "the founder lists the member that gave itself", func() bool {
		return len(status(t, first).Members) == 2
	})
	for _, m := range []*grid.Member{first, given} {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	given = start(t, grid.Config{DataDir: givenDir, Name: "given", BootstrapExpect: 3, Join: []string{formed.Addr()}})
	first = start(t, grid.Config{
		DataDir: founderDir, Name: "founder", BootstrapExpect: 3, Join: []string{given.Addr(), formed.Addr()},
	})
	for _, m := range []*grid.Member{first, given} {
		ready(t, m)
		if s := status(t, m); s.Cluster != want {
			t.Errorf("%s is in cluster %s, want %s", s.Name, s.Cluster, want)
		}
	}
}

func status(t *testing.T, m *grid.Member) protocol.Status {
	t.Helper()
	b, err := client.Ask(t.Context(), m.Addr(), protocol.AdminStatus, nil)
	if err != nil {
		t.Fatal(err)
	}
	var s protocol.Status
	if err := protocol.DecodeAnswer(b, &s); err != nil {
		t.Fatal(err)
	}
	return s
}
