package identity

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
)

// sealed adds the checksum to the text of a member.json.
func sealed(s string) string {
	return strings.TrimSuffix(s, "\n}\n") + checksumStart + checksum([]byte(s)) + checksumEnd
}

// TestEveryFlippedBitIsNoticed flips each bit of member.json in turn: the
// directory is refused, with the reason and the way out.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	d := openTest(t, t.TempDir())
	if err := d.Update(func(m *Member) {
		m.Cluster, m.Formed = NewUUID(), true
		m.Started = []Replica{{Group: 1, Replica: 3, Started: true}}
		m.Peers = []Peer{{Incarnation: NewUUID(), Address: "10.0.0.2:7170", Voter: true}}
	}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(d.path, fileName))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(b) * 8 {
		c := slices.Clone(b)
		c[bit/8] ^= 1 << (bit % 8)
		_, err := decode(c)
		if err == nil {
			t.Errorf("bit %d of byte %d (%q) flipped, and nothing is noticed", bit%8, bit/8, b[bit/8])
		} else if s := err.Error(); !strings.Contains(s, "damaged") && !strings.Contains(s, "newer") {
			t.Errorf("byte %d: %v", bit/8, err)
		}
	}
	for range 100 {
		if n := rand.IntN(len(b)); n > 0 {
			if _, err := decode(b[:n]); err == nil {
				t.Errorf("cut to %d of %d bytes, and nothing is noticed", n, len(b))
			}
		}
	}
}

func TestLives(t *testing.T) {
	dir, other := t.TempDir(), openTest(t, t.TempDir())
	d := openTest(t, dir)
	u, first := d.Member().Incarnation, d.Run()
	report := func(l Run) Run {
		t.Helper()
		m := other.Member()
		before, err := m.RunOf(u), other.NoteRun(u, "10.0.0.1:7170", l)
		if err != nil {
			t.Fatal(err)
		}
		return before
	}
	if got := report(first); got != (Run{}) {
		t.Errorf("before the first run: %v", got)
	}
	if got := report(first); got != first {
		t.Errorf("told twice: %v, want %v", got, first)
	}
	if err := d.EndRun(); err != nil {
		t.Fatal(err)
	}
	ended := d.Run()
	if ended.Number != first.Number+1 {
		t.Errorf("after the end: %v", ended)
	}
	report(ended)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openTest(t, dir)
	if l := d.Run(); l.Number != ended.Number+1 || l.Nonce == ended.Nonce {
		t.Errorf("the next run: %v after %v", l, ended)
	}
	if got := report(d.Run()); got != ended {
		t.Errorf("before the next run: %v, want %v", got, ended)
	}
	// An older copy has a number that was heard of.
	if got := report(Run{ended.Number, 7}); got != d.Run() {
		t.Errorf("before an older copy: %v", got)
	}
}

func TestRenew(t *testing.T) {
	dir := t.TempDir()
	d := openTest(t, dir)
	if err := d.Renew(); err == nil {
		t.Error("a blank member is renewed")
	}
	peers := []Peer{{Incarnation: NewUUID(), Address: "10.0.0.2:7170"}}
	if err := d.Update(func(m *Member) {
		m.Cluster, m.ClusterName, m.Formed, m.Founder = NewUUID(), "prod", true, m.Incarnation
		m.Groups, m.Peers, m.Started = 3, peers, []Replica{{Group: 1, Replica: 3, Started: true}}
	}); err != nil {
		t.Fatal(err)
	}
	logs := func() []string {
		t.Helper()
		entries, err := os.ReadDir(filepath.Join(dir, raftName))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	for range 2 {
		old := d.Member()
		if _, err := d.RaftDir(); err != nil {
			t.Fatal(err)
		}
		if err := d.Renew(); err != nil {
			t.Fatal(err)
		}
		m := d.Member()
		if m.Incarnation == old.Incarnation || m.Cluster != old.Cluster || !m.Formed || m.Groups != 3 || len(m.Started) != 0 ||
			m.Founder != (protocol.UUID{}) {
			t.Errorf("after Renew: %+v", m)
		}
		if diff := cmp.Diff(peers, m.Peers); diff != "" {
			t.Errorf("peers (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{old.Incarnation.String() + lostSuffix}, logs()); diff != "" {
			t.Errorf("logs (-want +got):\n%s", diff)
		}
	}
	// A crash before the log was renamed is made good at the next start.
	left := NewUUID().String()
	if err := os.Mkdir(filepath.Join(dir, raftName, left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir)
	if diff := cmp.Diff([]string{left + lostSuffix}, logs()); diff != "" {
		t.Errorf("logs after a crash (-want +got):\n%s", diff)
	}
}

func openTest(t *testing.T, dir string) *Dir {
	t.Helper()
	d, err := Open(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
