//go:build !mutants

package drate

import "github.com/quorate/quorate/protocol"

func mutantNow(now protocol.LogTime) protocol.LogTime { return now }
