//go:build !mutants

package dlock

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

func mutantToken(_ protocol.HoldID, token protocol.Token) protocol.Token { return token }

func mutantReleased(_ structures.Env, id protocol.HoldID) protocol.HoldID { return id }

func mutantEnded(_ structures.Env, key []byte) []byte { return key }
