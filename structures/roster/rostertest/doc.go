// Package rostertest holds the model of a roster for the conformance suite, which every
// kind that is one runs, and the seeds of its fuzz target.
package rostertest
