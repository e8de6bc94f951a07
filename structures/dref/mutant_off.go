//go:build !mutants

package dref

func mutantVersions(*state, Version) bool { return false }

func mutantRollback(*state) {}
