package kinds_test

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
)

func electionBodies(r *recorder) {
	e := delection.New[string](r.client, name)
	var lead *delection.Leadership[string]
	campaign := func(value string, opts ...delection.CampaignOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { l, err := e.Campaign(ctx, value, opts...); lead = l; return err }
	}
	leads := func(ctx context.Context) error { _, _, err := e.Leader(ctx); return err }
	resign := func(ctx context.Context) error { return lead.Resign(ctx) }
	r.does("leader: nobody", leads)
	r.does("try to campaign: elected", campaign("a", delection.Wait(0), delection.Note("host a")))
	r.does("leader", leads)
	r.fails("try to campaign: another leads", func(ctx context.Context) error { _, err := e.Campaign(ctx, "b", delection.Wait(0)); return err })
	r.does("proclaim", func(ctx context.Context) error { return lead.Proclaim(ctx, "a, ready") })
	first := lead
	r.waits("campaign, and be elected by a resignation", campaign("b", delection.Priority(-1)), first.Resign)
	r.waits("campaign, and wait in vain", func(ctx context.Context) error {
		_, err := e.Campaign(ctx, "c", delection.Wait(time.Second))
		return err
	}, func(context.Context) error { r.local.Advance(time.Minute); return nil })
	r.fails("proclaim: it does not lead any more", func(ctx context.Context) error { return first.Proclaim(ctx, "late") })
	r.sends("resign: it does not lead any more", r.kind.ID, opOf(r, "resign"), name, 0, structures.AppendHold(nil, first.ID()))
	r.fails("transfer to nobody", func(ctx context.Context) error { _, err := e.Transfer(ctx, lead.ID(), 12345); return err })
	second := lead
	r.waits("candidates, and a transfer with a grace, which the leader does not wait for", campaign("d", delection.Priority(7), delection.Note("host d")),
		func(ctx context.Context) error {
			list, err := e.Candidates(ctx)
			if err != nil || len(list) != 1 {
				return fmt.Errorf("%v, %w", list, err)
			}
			if _, err := e.Transfer(ctx, second.ID(), list[0].Hold, delection.Grace(time.Minute), delection.Reason("maintenance")); err != nil {
				return err
			}
			return second.Resign(ctx)
		})
	r.does("transfer from who does not lead any more", func(ctx context.Context) error {
		_, err := e.Transfer(ctx, second.ID(), lead.ID())
		return err
	})
	h := structures.NewHandle(r.client, &r.kind, name, nil)
	revoke := func(opts ...structures.RevokeOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := h.Revoke(ctx, lead.ID(), opts...); return err }
	}
	hold := func() []byte { return structures.AppendHold(nil, lead.ID()) }
	r.does("revoke with a grace of a minute", revoke(structures.Grace(time.Minute)))
	r.sends("the state of the leadership", r.kind.ID, structures.OpHold, name, protocol.FlagRead, hold())
	r.sends("acknowledge the revocation", r.kind.ID, structures.OpAcknowledge, name, 0, hold())
	r.does("resign all the same", resign)
	r.does("campaign: elected at once", campaign("e"))
}
