package coordinator

import (
	"testing"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
)

// patience is far longer than anything takes that does not wait.
const patience = 30 * time.Second

// TestNobodyWaitsForTheMemberFile: what messages of Raft and requests of clients
// ask the coordinator is answered while member.json is being written.
func TestNobodyWaitsForTheMemberFile(t *testing.T) {
	dir, err := identity.Open(t.TempDir(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	writes, resume := make(chan struct{}), make(chan struct{})
	dir.BeforeWrite = func() { close(writes); <-resume }
	other := peers.Self{Incarnation: identity.NewUUID(), Address: "127.0.0.1:1"}
	c := idleMember(t, nobody, func(cfg *Config) { cfg.Dir = dir })
	written := make(chan error, 1)
	own := dir.Member().Incarnation
	go func() {
		_, err := c.Formation.OnEnlist(peers.Enlistment{Incarnation: own, Founder: other, Cluster: identity.NewUUID()})
		written <- err
	}()
	<-writes
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if a, ok := c.Resolve(other.Incarnation); !ok || a != other.Address {
			t.Errorf("the founder is at %q, %t", a, ok)
		}
		c.Learn(other)
		c.StateOf(other.Incarnation)
		c.Waiting()
		if m := c.Member(); !m.Blank() {
			t.Error("what is not on disk yet is told")
		}
	}()
	select {
	case <-answered:
	case <-time.After(patience):
		t.Error("a question waits for the disk")
	}
	close(resume)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	<-answered
	if m := c.Member(); m.Blank() {
		t.Error("what is on disk is not told")
	}
}
