package gridtest_test

import (
	"testing"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dcounter"
)

// TestMembersThatDoNotReachThemselves: members whose own addresses refuse
// connections from themselves form a grid, serve, and return, through a member that
// forwards, too.
func TestMembersThatDoNotReachThemselves(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithoutReflection())
	c.WaitFull()
	c.Kill(0)
	c.Restart(0)
	c.WaitFull()
	ctx := testContext(t)
	for i := range 3 {
		if n, err := dcounter.New(c.Member(i).Client(), "own").Add(ctx, 1); err != nil || n != int64(i+1) {
			t.Errorf("by the client of member %d: %d, %v", i, n, err)
		}
	}
	if n, err := dcounter.New(c.Client(t, client.WithForward()), "own").Add(ctx, 1); err != nil || n != 4 {
		t.Errorf("forwarded: %d, %v", n, err)
	}
}
