package ports_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/quorate/quorate/internal/ports"
)

func TestFree(t *testing.T) {
	const n = 50
	addresses, err := ports.Free(n)
	if err != nil || len(addresses) != n {
		t.Fatalf("%d addresses, %v", len(addresses), err)
	}
	var taken []uint16
	for _, a := range addresses {
		at, err := netip.ParseAddrPort(a)
		if err != nil || !at.Addr().IsLoopback() {
			t.Fatalf("%s, %v", a, err)
		}
		for _, p := range []uint16{at.Port(), at.Port() + 1000} {
			if p < 1024 || p >= 32768 {
				t.Errorf("port %d may be that of an outgoing connection", p)
			}
			if slices.Contains(taken, p) {
				t.Errorf("port %d is given out twice", p)
			}
			taken = append(taken, p)
		}
	}
	if addresses, err := ports.Free(0); len(addresses) != 0 || err != nil {
		t.Errorf("%v, %v", addresses, err)
	}
}
