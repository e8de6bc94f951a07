package child

import (
	"syscall"
	"testing"
	"time"
)

// TestCommandDiesWithParent: who is killed does not leave its command behind.
func TestCommandDiesWithParent(t *testing.T) {
	h := hold(t, time.Minute, "trap '' TERM; echo $$; while :; do sleep 0.01; done")
	pid := h.pid()
	h.send(syscall.SIGKILL)
	await(t, pid)
}
