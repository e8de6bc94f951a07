//go:build !mutants

package dcounter

func mutantSum(_, sum int64) int64 { return sum }
