// Package mutants plants bugs, to show that the checks notice them. Each Bug
// switches one promise off by one line at the place where the promise is kept.
//
// Without the build tag "mutants" there are none: On is the constant false, and
// the compiler removes what depends on it. With the tag, QUORATE_MUTANT names
// the one that is on. `make mutants` runs the check of each, with it and without.
package mutants
