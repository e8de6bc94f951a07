package child

import "os/exec"

// Shell returns the command that has the system's shell run a line.
func Shell(line string) *exec.Cmd {
	return exec.Command(shell[0], append(shell[1:len(shell):len(shell)], line)...)
}
