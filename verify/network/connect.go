package network

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
	Auto       = "auto"   // namespaces if they work, else proxies
	Namespaces = "netns"  // each member in a network namespace of its own
	Proxy      = "proxy"  // all on loopback, a proxy in this process before each
	Direct     = "direct" // all on loopback, nothing between them
)

// memberPort is where members in namespaces of their own listen.
const memberPort = 7170

const dialPatience = 3 * time.Second

// Hosts are the hosts of the members and their clients.
type Hosts struct {
	Kind    string
	why     error     // why they are not in namespaces
	Network Network   // nil: members talk directly
	Local   *Launcher // on this machine
	// Where there are namespaces: of each member, of the clients, and of who asks
	// members how they are, whom no fault disturbs.
	members           []*namespace
	Clients, Watching *namespace
}

// NewHosts makes the network that is asked for.
//
// What is returned must be closed, with an error too.
func NewHosts(kind string, members int) (h *Hosts, err error) {
	h = &Hosts{Kind: kind}
	if h.Local, err = NewLauncher(func() error { return nil }); err != nil {
		return h, err
	}
	if kind == Auto || kind == Namespaces {
		if h.why = h.separate(members); h.why == nil {
			h.Kind = Namespaces
			return h, nil
		}
		if kind == Namespaces {
			return h, fmt.Errorf("network namespaces: %w", h.why)
		}
		h.Kind = Proxy
	}
	return h, nil
}

// separate makes the namespaces and what joins them.
func (h *Hosts) separate(members int) error {
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
		h.Clients, h.Watching = attach(Outside, 251), attach(watcher, 252)
	}
	if h.why != nil {
		h.leave()
		return h.why
	}
	h.Network = newSwitch(members, ports)
	return nil
}

// leave ends the namespaces, and what runs in them.
func (h *Hosts) leave() {
	for _, n := range append(h.members, h.Clients, h.Watching) {
		if n != nil {
			n.close()
		}
	}
	h.members, h.Clients, h.Watching = nil, nil, nil
}

func (h *Hosts) Close() {
	if h.Network != nil {
		h.Network.Close()
	}
	h.leave()
	h.Local.Close()
}

// Of returns what starts the process of a member, by its index.
func (h *Hosts) Of(index int) *Launcher {
	if h.members == nil {
		return h.Local
	}
	return h.members[index].Launcher
}

// Addresses returns where the members listen.
func (h *Hosts) Addresses(members int) ([]string, error) {
	if h.members == nil {
		return ports.Free(members)
	}
	var all []string
	for _, n := range h.members {
		all = append(all, fmt.Sprintf("%v:%d", net.IP(n.addr[:]), memberPort))
	}
	return all, nil
}

// Describe says through what members' traffic passes, and what of it cannot
// be disturbed.
func (h *Hosts) Describe() (kind, lacks string) {
	switch h.Kind {
	case Namespaces:
		return "each member in a network namespace of its own, packets pass through a switch in this process", ""
	case Proxy:
		kind, lacks = "a proxy in this process before each member", "packets of streams are not lost, doubled or reordered, and cuts between clients and members are made in the client"
		if h.why != nil {
			lacks += fmt.Sprintf(" (network namespaces: %v)", h.why)
		}
		return kind, lacks
	}
	return "members talk directly", "nothing that members send each other is disturbed"
}

func (h *Hosts) Dial(ctx context.Context, from *namespace, address string) (net.Conn, error) {
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

// DisturbsClients says why what clients send does not pass through the network;
// nil: it does.
func (h *Hosts) DisturbsClients() error {
	if h.Kind != Namespaces {
		return errors.New("needs network namespaces")
	}
	return nil
}

// DisturbsMembers says why what members send each other cannot be disturbed; nil: it can.
func (h *Hosts) DisturbsMembers() error {
	switch {
	case h.Network == nil:
		return errors.New("members talk directly")
	case h.Kind == Proxy && !canTell:
		return errors.New("needs Linux: elsewhere a proxy cannot tell who has connected")
	}
	return nil
}
