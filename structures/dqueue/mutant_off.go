//go:build !mutants

package dqueue

import "github.com/quorate/quorate/structures"

func mutantGivenBack(_ structures.Env, _ *count, e element) element { return e }
