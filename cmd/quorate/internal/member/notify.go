package member

import (
	"net"
	"os"
	"strings"
)

// notifier reports the state of the member to a service manager (sd_notify(3)), if
// there is one.
type notifier struct{ socket string }

func newNotifier() notifier { return notifier{os.Getenv("NOTIFY_SOCKET")} }

// notify sends states such as READY=1. It is best effort: the manager has timeouts of
// its own.
func (n notifier) notify(states ...string) {
	if n.socket == "" {
		return
	}
	address := n.socket
	if strings.HasPrefix(address, "@") {
		address = "\x00" + address[1:] // a socket without a file
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(strings.Join(states, "\n")))
}
