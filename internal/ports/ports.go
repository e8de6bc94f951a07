package ports

import (
	"errors"
	"math/rand/v2"
	"net"
)

// No system that Quorate runs on gives ports below 32768 to outgoing connections
// unless it is told to. Of each two thousand the lower one is taken: a member's
// HTTP port is a thousand above its own by default.
const (
	lowest    = 20_000
	thousands = 6
	spread    = 1000
)

// attempts bounds the search for one port.
const attempts = 1000

// Free returns loopback addresses whose port is free for TCP and UDP. All are
// held until the last is found, so that none is given out twice.
func Free(n int) ([]string, error) {
	var addresses []string
	for range attempts * n {
		if len(addresses) == n {
			return addresses, nil
		}
		port := lowest + 2*spread*rand.IntN(thousands) + rand.IntN(spread)
		tcp, udp, err := listen(port)
		if err != nil {
			continue
		}
		defer tcp.Close()
		defer udp.Close()
		addresses = append(addresses, tcp.Addr().String())
	}
	if len(addresses) == n {
		return addresses, nil
	}
	return nil, errors.New("no free ports on 127.0.0.1")
}

func listen(port int) (*net.TCPListener, *net.UDPConn, error) {
	loopback := net.IPv4(127, 0, 0, 1)
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback, Port: port})
	if err != nil {
		return nil, nil, err
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: loopback, Port: port})
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	return tcp, udp, nil
}
