package member

import (
	"net"
	"os"
	"strings"
)

// notifier tells a service manager how the member is (sd_notify(3)). Where
// nobody wants to know, it tells nobody.
type notifier struct{ socket string }

func newNotifier() notifier { return notifier{os.Getenv("NOTIFY_SOCKET")} }

// tell sends states like READY=1. It is best effort: the manager has timeouts
// of its own.
func (n notifier) tell(states ...string) {
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
