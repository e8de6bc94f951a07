// Command run runs the check of each planted bug, with the bug and without, and
// prints which were noticed, and how soon. Arguments name bugs; without any it
// runs all. It exits with 1 where a bug survives, or a check fails without one.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/quorate/quorate/mutants"
)

// patience bounds one check: one that hangs because of its bug has noticed it.
const patience = 2 * time.Minute

func main() {
	bad, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if bad > 0 {
		fmt.Printf("%d of the bugs survive, or their checks fail without them\n", bad)
		os.Exit(1)
	}
}

func run(only []string) (bad int, err error) {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is the system's to clear
	clean := map[string]error{}
	for _, m := range mutants.All {
		if len(only) > 0 && !slices.Contains(only, string(m.Bug)) {
			continue
		}
		binary := filepath.Join(dir, filepath.Base(m.Package)+".test")
		if _, err := os.Stat(binary); err != nil {
			build := exec.Command("go", "test", "-c", "-tags", "mutants", "-o", binary, "./"+m.Package)
			build.Stderr = os.Stderr
			if err := build.Run(); err != nil {
				return 0, fmt.Errorf("build the tests of %s: %w", m.Package, err)
			}
		}
		key := fmt.Sprint(m.Package, m.Check, m.Seed)
		if _, ran := clean[key]; !ran {
			_, clean[key] = check(dir, binary, m, "")
		}
		took, caught := check(dir, binary, m, m.Bug)
		verdict := "noticed by"
		switch {
		case clean[key] != nil:
			verdict, bad = "FAILS WITHOUT IT:", bad+1
		case caught == nil:
			verdict, bad = "SURVIVES", bad+1
		}
		fmt.Printf("%-20s %-62s %-10s %s.%s after %v\n", m.Bug, m.What, verdict, m.Package, m.Check, took.Round(10*time.Millisecond))
	}
	return bad, nil
}

// check runs the check of a mutant in a directory of its own, with a bug
// planted, and returns how it failed.
func check(dir, binary string, m mutants.Mutant, b mutants.Bug) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^"+m.Check+"$")
	if m.Check == "TestConformance" {
		cmd.Args = append(cmd.Args, "-rapid.nofailfile") // the next run would begin with it
	}
	cmd.Dir = m.Package
	cmd.Env = append(os.Environ(), "QUORATE_MUTANT="+string(b), "TMPDIR="+dir)
	if m.Seed != 0 {
		cmd.Env = append(cmd.Env, "QUORATE_SEED="+strconv.FormatUint(m.Seed, 10))
	}
	began := time.Now()
	err := cmd.Run()
	return time.Since(began), err
}
