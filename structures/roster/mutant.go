//go:build mutants

package roster

import (
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// mutantOwner leaves an entry that is registered again with the session it had.
func mutantOwner(e *edit, again bool, caller protocol.SessionID) protocol.SessionID {
	if again && e.is && mutants.On(mutants.OldEndRemoves) {
		return e.owner
	}
	return caller
}

// mutantDeadline lets the entry end when it should become critical.
func mutantDeadline(env structures.Env, ttl int64) protocol.LogTime {
	if ttl != 0 && mutants.On(mutants.CriticalVanishes) {
		return env.Now().Add(time.Duration(ttl) * time.Millisecond)
	}
	return 0
}

// mutantBehind lets a watch that should go on from a view begin now.
func mutantBehind(behind bool) bool { return behind && !mutants.On(mutants.ViewGap) }
