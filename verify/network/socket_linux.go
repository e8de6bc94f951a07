package network

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// canTell: a proxy can find out which member has opened a connection.
const canTell = true

// SocketOwner finds the process at the other end of a connection that was
// accepted on this machine, and returns what pids says of it, or outside.
func SocketOwner(pids map[int]int, from, to *net.TCPAddr) int {
	inode := socketInode(from, to)
	if inode == "" {
		return Outside
	}
	want := "socket:[" + inode + "]"
	for pid, member := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			if to, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && to == want {
				return member
			}
		}
	}
	return Outside
}

// socketInode looks a connection up in the kernel's table.
func socketInode(local, remote *net.TCPAddr) string {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer f.Close()
	a, b := kernelAddress(local), kernelAddress(remote)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[1] == a && fields[2] == b {
			return fields[9]
		}
	}
	return ""
}

// kernelAddress writes an IPv4 address as /proc/net/tcp does.
func kernelAddress(a *net.TCPAddr) string {
	ip := a.IP.To4()
	if ip == nil {
		return ""
	}
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip), a.Port)
}
