package member

import (
	"net"
	"path/filepath"
	"testing"
)

func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	newNotifier().notify("READY=1", "STATUS=waits")
	b := make([]byte, 100)
	n, err := l.Read(b)
	if err != nil || string(b[:n]) != "READY=1\nSTATUS=waits" {
		t.Errorf("%q, %v", b[:n], err)
	}
	// Nobody there, and nobody named.
	t.Setenv("NOTIFY_SOCKET", name+"none")
	newNotifier().notify("READY=1")
	t.Setenv("NOTIFY_SOCKET", "")
	newNotifier().notify("READY=1")
}
