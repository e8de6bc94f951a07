//go:build !mutants

package dsemaphore

import "github.com/quorate/quorate/structures"

func mutantGivenBack(h structures.Hold) structures.Hold { return h }

func mutantTaken(n int64) int64 { return n }
