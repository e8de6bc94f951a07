package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// namespace is a host of its own as far as the network is concerned: a network
// namespace with one device, whose packets come out of a file here. It has no
// name: nothing of it is left when we have ended, however that was.
type namespace struct {
	*Launcher // starts processes in it
	addr      [4]byte
	device    *os.File
	net       int // the file that stands for it
}

func newNamespace(addr [4]byte) (*namespace, error) {
	n := &namespace{addr: addr, net: -1}
	var err error
	n.Launcher, err = NewLauncher(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("a network namespace: %w", err)
		}
		var err error
		if n.net, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("a network namespace: %w", err)
		}
		n.device, err = openDevice(addr)
		return err
	})
	if err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// openDevice makes the device of the namespace that the thread is in, and
// brings it up.
func openDevice(addr [4]byte) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	name := func(device string, set func(*unix.Ifreq)) *unix.Ifreq {
		r, _ := unix.NewIfreq(device) // its only error is a name that is too long
		set(r)
		return r
	}
	const device = "eth0"
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, name(device, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI) })); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), path)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	defer unix.Close(s)
	for _, step := range []struct {
		what    uint
		request *unix.Ifreq
	}{
		{unix.SIOCSIFADDR, name(device, func(r *unix.Ifreq) { err = r.SetInet4Addr(addr[:]) })},
		{unix.SIOCSIFNETMASK, name(device, func(r *unix.Ifreq) { err = errors.Join(err, r.SetInet4Addr([]byte{255, 255, 255, 0})) })},
		{unix.SIOCSIFMTU, name(device, func(r *unix.Ifreq) { r.SetUint32(maxPacket) })},
		{unix.SIOCSIFFLAGS, name(device, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP) })},
		{unix.SIOCSIFFLAGS, name("lo", func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP) })},
	} {
		if err == nil {
			err = unix.IoctlIfreq(s, step.what, step.request)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up a network device: %w", err), file.Close())
	}
	return file, nil
}

// inside runs f inside, on a thread of its own.
func (n *namespace) inside(f func()) error {
	done := make(chan error, 1)
	onThread(func() {
		err := unix.Setns(n.net, unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	})
	return <-done
}

// dial opens a connection from inside to an address, which is no name.
func (n *namespace) dial(ctx context.Context, address string) (c net.Conn, err error) {
	d := net.Dialer{Timeout: dialPatience}
	if serr := n.inside(func() { c, err = d.DialContext(ctx, "tcp", address) }); serr != nil {
		return nil, serr
	}
	return c, err
}

// close ends the processes that were started inside, and the namespace with
// them.
func (n *namespace) close() {
	n.Launcher.Close()
	if n.device != nil {
		_ = n.device.Close()
	}
	if n.net >= 0 {
		_ = unix.Close(n.net)
	}
}
