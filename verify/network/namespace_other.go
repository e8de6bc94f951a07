//go:build !linux

package network

import (
	"context"
	"errors"
	"net"
	"os"
)

type namespace struct {
	*Launcher
	addr   [4]byte
	device *os.File
}

func newNamespace([4]byte) (*namespace, error) { return nil, errors.New("needs Linux") }

func (*namespace) dial(context.Context, string) (net.Conn, error) { return nil, errors.ErrUnsupported }

func (*namespace) inside(func()) error { return errors.ErrUnsupported }

func (*namespace) close() {}
