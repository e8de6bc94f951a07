package ports

import (
	"errors"
	"net"
	"testing"
)

// TestPool: two processes are given no port both, nor is one given a port twice that
// nobody listens at, as of a member that is down.
func TestPool(t *testing.T) {
	pools, given := [2]pool{}, map[string]bool{}
	for range 300 {
		for i := range pools {
			a, err := pools[i].free(1)
			if err != nil || given[a[0]] {
				t.Fatalf("%v is given out twice, %v", a, err)
			}
			given[a[0]] = true
		}
	}
	for i := range pools {
		for _, ln := range pools[i].claims {
			ln.Close()
		}
	}
}

// TestPool_Again: one that has had all its ports is given those again that are free.
func TestPool_Again(t *testing.T) {
	var p pool
	for range mostBlock * (inBlock - 1) {
		if _, err := p.free(1); err != nil {
			t.Fatal(err)
		}
	}
	first, err := p.free(1)
	if err != nil || len(p.claims) != mostBlock {
		t.Fatalf("%v with %d blocks", err, len(p.claims))
	}
	ln, err := net.Listen("tcp", first[0])
	if err != nil {
		t.Fatal(err)
	}
	p.next = 0
	second, err := p.free(1)
	if err != nil || second[0] == first[0] {
		t.Errorf("%v, %v, where somebody listens at %v", second, err, first)
	}
	for _, ln := range append(p.claims, ln) {
		err = errors.Join(err, ln.Close())
	}
	if err != nil {
		t.Error(err)
	}
}
