//go:build !mutants

package shardgroups

// No bug is planted, see mutant.go.

func plantLatePiggyback(*proposer, *Request) {}

func mutantReadRounds(n int) int { return n }

func plantSharedRound(_ *proposer, batch []*Request) []*Request { return batch }

func mutantElapsed(elapsed int64) int64 { return elapsed }

func plantEarlyAcknowledgement(*entry) {}

func mutantKeepBound(bound, _ int) int { return bound }
