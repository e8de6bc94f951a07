package nemesis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quorate/quorate/internal/ports"
)

// The kinds of network that a grid can be started in.
const (
	NetworkAuto   = "auto"   // namespaces where they work, else proxies
	NetworkNetns  = "netns"  // each member in a network namespace of its own
	NetworkProxy  = "proxy"  // all on loopback, a proxy in this process before each
	NetworkDirect = "direct" // all on loopback, nothing between them
)

// memberPort is where members in namespaces of their own listen.
const memberPort = 7170

const dialPatience = 3 * time.Second

// hosts is where the members and their clients are.
type hosts struct {
	kind    string
	why     error     // why they are not in namespaces
	network Network   // nil: members talk directly
	local   *launcher // on this machine
	// Where there are namespaces: of each member, of the clients, and of who asks
	// members how they are, whom no fault disturbs.
	members           []*namespace
	clients, watching *namespace
}

// newHosts makes the network that is asked for.
func (g *Grid) newHosts(kind string) (err error) {
	h := &hosts{kind: kind}
	g.hosts = h
	if h.local, err = newLauncher(func() error { return nil }); err != nil {
		return err
	}
	if kind == NetworkAuto || kind == NetworkNetns {
		if h.why = h.separate(g.cfg.Members); h.why == nil {
			h.kind = NetworkNetns
			return nil
		}
		if kind == NetworkNetns {
			return fmt.Errorf("network namespaces: %w", h.why)
		}
		h.kind = NetworkProxy
	}
	return nil
}

// separate makes the namespaces and what joins them.
func (h *hosts) separate(members int) error {
	var ports []*port
	attach := func(index int, last byte) *namespace {
		n, err := newNamespace([4]byte{10, 71, 70, last})
		if err != nil {
			h.why = errors.Join(h.why, err)
			return nil
		}
		ports = append(ports, &port{index: index, addr: n.addr, device: n.device})
		return n
	}
	if members > 200 {
		return errors.New("too many members")
	}
	for i := range members {
		if n := attach(i, byte(i+1)); n != nil {
			h.members = append(h.members, n)
		}
		if h.why != nil {
			break
		}
	}
	if h.why == nil {
		h.clients, h.watching = attach(outside, 251), attach(watcher, 252)
	}
	if h.why != nil {
		h.leave()
		return h.why
	}
	h.network = newSwitch(members, ports)
	return nil
}

// leave ends the namespaces, and what runs in them.
func (h *hosts) leave() {
	for _, n := range append(h.members, h.clients, h.watching) {
		if n != nil {
			n.close()
		}
	}
	h.members, h.clients, h.watching = nil, nil, nil
}

func (h *hosts) close() {
	if h.network != nil {
		h.network.Close()
	}
	h.leave()
	h.local.close()
}

// of returns what starts the process of a member.
func (h *hosts) of(m *Member) *launcher {
	if h.members == nil {
		return h.local
	}
	return h.members[m.Index].launcher
}

// addresses returns where the members listen.
func (h *hosts) addresses(members int) ([]string, error) {
	if h.members == nil {
		return ports.Free(members)
	}
	var all []string
	for _, n := range h.members {
		all = append(all, fmt.Sprintf("%v:%d", net.IP(n.addr[:]), memberPort))
	}
	return all, nil
}

// Network is what members' traffic passes through; nil where it does not.
func (g *Grid) Network() Network { return g.hosts.network }

// NetworkKind says through what members' traffic passes, and what of it cannot
// be disturbed.
func (g *Grid) NetworkKind() (kind, lacks string) {
	switch g.hosts.kind {
	case NetworkNetns:
		return "each member in a network namespace of its own, packets pass through a switch in this process", ""
	case NetworkProxy:
		kind, lacks = "a proxy in this process before each member", "packets of streams are not lost, doubled or reordered, and cuts between clients and members are made in the client"
		if g.hosts.why != nil {
			lacks += fmt.Sprintf(" (network namespaces: %v)", g.hosts.why)
		}
		return kind, lacks
	}
	return "members talk directly", "nothing that members send each other is disturbed"
}

// Dial opens a connection from where clients are to the member of an address.
func (g *Grid) Dial(ctx context.Context, address string) (net.Conn, error) {
	return g.hosts.dial(ctx, g.hosts.clients, g.Resolve(address))
}

func (h *hosts) dial(ctx context.Context, from *namespace, address string) (net.Conn, error) {
	if from != nil {
		return from.dial(ctx, address)
	}
	return Dial(ctx, address)
}

// Dial opens a connection from this machine.
func Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialPatience}
	return d.DialContext(ctx, "tcp", address)
}

// disturbsClients says why what clients send does not pass through the network;
// nil: it does.
func (g *Grid) disturbsClients() error {
	if g.hosts.kind != NetworkNetns {
		return errors.New("needs network namespaces")
	}
	return nil
}

// needsNetwork is what faults of the network need.
func needsNetwork(g *Grid) error {
	switch {
	case g.hosts.network == nil:
		return errors.New("members talk directly")
	case g.hosts.kind == NetworkProxy && !canTell:
		return errors.New("needs Linux: elsewhere a proxy cannot tell who has connected")
	}
	return nil
}
