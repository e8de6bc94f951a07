//go:build mutants

package delection

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// mutantElected has the token of a leader's arrival.
func mutantElected(v protocol.Version, hold protocol.HoldID) protocol.Token {
	if mutants.On(mutants.TokenOfCampaign) {
		return protocol.Token(hold)
	}
	return protocol.Token(v)
}
