//go:build mutants

package dmap

import "github.com/quorate/quorate/mutants"

// mutantRemoved goes on counting a row that was removed.
func mutantRemoved(rows int64) int64 {
	if mutants.On(mutants.RemovedCounted) {
		return 0
	}
	return rows
}
