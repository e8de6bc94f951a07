//go:build !mutants

package roster

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

func mutantOwner(_ *edit, _ bool, caller protocol.SessionID) protocol.SessionID { return caller }

func mutantDeadline(structures.Env, int64) protocol.LogTime { return 0 }

func mutantBehind(behind bool) bool { return behind }
