package client

import (
	"testing"

	"github.com/quorate/quorate/protocol"
)

func TestInvoke(t *testing.T) {
	members := fakeGrid(t, 1)
	c := dialFake(t, members)
	for range 3 {
		r, err := c.Invoke(testContext(t), testCall)
		if err != nil || r.Code != protocol.CodeOK || string(r.Body) != "\x01" || r.Lease.Err() != nil {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	if r, err := c.Invoke(testContext(t), testRead()); err != nil || r.Lease != nil {
		t.Fatalf("got %+v, %v", r, err)
	}
	for i, q := range members[0].seen() {
		want := protocol.Caller{Session: 7, Slot: 0, Sequence: uint64(i + 1)}
		if i == 3 {
			want = protocol.Caller{}
		}
		if q.Caller != want || q.TimeLeft == 0 || q.Flags&protocol.FlagRepeat != 0 {
			t.Errorf("request %d: %+v", i, q)
		}
	}
}
