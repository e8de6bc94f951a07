package raftnet

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/quorate/quorate/protocol"
)

const (
	inquireLimit = time.Second
	lastsLimit   = 100 * time.Millisecond
)

// inquire finds out whether the process at an address has ended. While the machine
// closes the connections of a dead process it may still accept a new one, but that does
// not last. A connection that lasts belongs to a live process.
func (t *Transport) inquire(address string) {
	ctx, cancel := context.WithTimeout(t.ctx, inquireLimit)
	defer cancel()
	for pause := time.Millisecond; ctx.Err() == nil; pause *= 2 {
		conn, err := t.cfg.Dial(ctx, address, protocol.PurposeRaft)
		if errors.Is(err, syscall.ECONNREFUSED) {
			t.cfg.Ended(address)
		}
		if err != nil || lasts(conn) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// lasts closes a connection on which nothing arrives, and reports whether the
// other end has not closed it first.
func lasts(conn net.Conn) bool {
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(lastsLimit)); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}
