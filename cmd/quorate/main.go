// Command quorate is the one binary of the grid: a member (start, dev), the
// client commands (map, counter, semaphore, queue, status, ls, destroy), a
// demonstration (demo) and a benchmark (bench).
//
// app is the whole program around the arguments and the three streams; the
// other files have one command family each.
package main

import "os"

func main() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(a.run(os.Args[1:]))
}
