package rejoin

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/coordinatortest"
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
)

// TestJoinPastSilentAddresses: of nine addresses only the one that is asked last
// answers. A step has 10 s, and each question may take 3: asked one after the
// other a member would never join.
func TestJoinPastSilentAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, err := identity.Volatile("n1")
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for i := range 9 {
			all = append(all, fmt.Sprintf("127.0.0.1:%d", 7001+i))
		}
		grid := membership.New(membership.Config{
			Dir: dir, Join: all, Logger: slog.New(slog.DiscardHandler),
			Peers: coordinatortest.AskerFunc(func(ctx context.Context, address, what string, _ []byte) (any, error) {
				if what != peers.AskJoin {
					t.Errorf("asked for %s", what)
				}
				if address == all[8] {
					return nil, nil
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		m := grid.Member()
		if err := New(Config{}, grid).askToJoin(ctx, &m); err != nil {
			t.Error(err)
		}
	})
}
