package shardgroups

import (
	"io"
	"runtime"
	"testing"
	"weak"

	"github.com/quorate/quorate/shardgroups/groupstate"
)

// TestSnapshotLetsGo shows that who keeps what PrepareSnapshot returned, as
// dragonboat does until the next snapshot, does not keep the copy of the state.
func TestSnapshotLetsGo(t *testing.T) {
	m := &groupMachine{&Group{state: groupstate.New(nil)}}
	ctx, err := m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	state := weak.Make(ctx.(*groupSnapshot).state)
	if err := m.SaveSnapshot(ctx, io.Discard, nil, nil); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	if state.Value() != nil {
		t.Error("the copy is still there")
	}
	runtime.KeepAlive(ctx)
}
