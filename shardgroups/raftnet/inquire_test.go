package raftnet

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestInquire shows what is taken for the end of a process: not a connection
// that is accepted, and one that is accepted and closed only as the machine
// refuses the next.
func TestInquire(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(net.Listener)
		ended bool
	}{
		{"lives", func(l net.Listener) {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
			}
		}, false},
		{"has ended", func(l net.Listener) { l.Close() }, true},
		{"is being ended", func(l net.Listener) {
			for range 2 {
				if c, err := l.Accept(); err == nil {
					c.Close()
				}
			}
			l.Close()
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ended := false
			tr := NewTransport(Config{
				Logger: slog.New(slog.DiscardHandler),
				Ended:  func(string) { ended = true },
				Dial: func(ctx context.Context, address string, _ protocol.Purpose) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", address)
				},
			})
			defer tr.Close()
			if tt.name == "has ended" {
				tt.serve(l)
			} else {
				go tt.serve(l)
			}
			tr.inquire(l.Addr().String())
			if ended != tt.ended {
				t.Errorf("ended: %v, want %v", ended, tt.ended)
			}
		})
	}
}
