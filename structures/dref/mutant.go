//go:build mutants

package dref

import "github.com/quorate/quorate/mutants"

// mutantVersions takes a value that is there for the version that was read.
func mutantVersions(s *state, v Version) bool {
	return mutants.On(mutants.CASUnversioned) && s.exists && v != 0
}

// mutantRollback forgets the value that a rollback replaces.
func mutantRollback(s *state) {
	if mutants.On(mutants.RollbackForgets) {
		s.keep = 0
	}
}
