//go:build mutants

package dlock

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// mutantToken answers with the number of the call that asked, not of the mutation that
// granted.
func mutantToken(id protocol.HoldID, token protocol.Token) protocol.Token {
	if mutants.On(mutants.TokenOfArrival) {
		return protocol.Token(id)
	}
	return token
}

// mutantReleased releases whatever the session holds.
func mutantReleased(env structures.Env, id protocol.HoldID) protocol.HoldID {
	if held, row := holder(env, nil); mutants.On(mutants.ReleaseBySession) && row.Owner == env.Caller().Session {
		return held
	}
	return id
}

// mutantEnded is the row that goes when a hold has ended: that of whoever holds the lock.
func mutantEnded(env structures.Env, key []byte) []byte {
	if held, _ := holder(env, nil); mutants.On(mutants.DueTakesNewer) && held != 0 {
		return structures.HoldKey(held)
	}
	return key
}
