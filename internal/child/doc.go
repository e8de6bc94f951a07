// Package child runs a command for as long as something is held.
//
// The command and all that it starts are one process group of their own (a job
// object on Windows). Signals that would end this process are passed on to the
// group, and this process stays until the command has ended: nothing of the
// command runs on beside the next holder without anybody who watches it.
//
//	        hold ends            killAfter later
//	running ---------> SIGTERM -----------------> SIGKILL, to the whole group
//	   |
//	   '-- the command ends by itself: what it has left in the background stays
//	   '-- it ends by a signal, or after one: what is left of the group ends, too
//
// RunUntil is for a command that holds nothing: a signal is its end, and SIGKILL comes
// killAfter later.
//
// On Linux the command is also killed when this process dies; on Windows all of
// it ends with this process or with the command. A process that leaves the group
// (setsid) is out of reach.
package child
