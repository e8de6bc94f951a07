package coordinatortest

import (
	"context"

	"github.com/quorate/quorate/protocol"
)

// AskerFunc answers the questions that a member puts to others: a membership.Asker.
type AskerFunc func(ctx context.Context, address, what string, args []byte) (any, error)

// Ask is that of a membership.Asker.
func (f AskerFunc) Ask(ctx context.Context, address, what string, args, out any) error {
	answer, err := f(ctx, address, what, protocol.Encode(args))
	if err != nil || out == nil {
		return err
	}
	return protocol.Decode(protocol.Encode(answer), out)
}

// Forward is that of a membership.Asker.
func (f AskerFunc) Forward(ctx context.Context, address, what string, args, out any) error {
	return f.Ask(ctx, address, what, args, out)
}
