package grid

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"strconv"

	"github.com/quorate/quorate/grid/internal/dns"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/grid/internal/view"
	"github.com/quorate/quorate/grid/internal/web"
)

// views are where a member shows something to those who have no client. What it is not to
// have is nil.
type views struct {
	http    net.Listener
	dns     net.Listener
	packets *net.UDPConn // of DNS
}

// listenViews opens what a configuration asks for, all of it or nothing.
func listenViews(cfg *Config, member string, log *slog.Logger) (*views, error) {
	v := &views{}
	var errs [2]error
	v.http, errs[0] = listenHTTP(cfg.HTTP, member, log)
	if cfg.DNS != "" && cfg.DNS != DNSOff {
		if v.dns, v.packets, errs[1] = network.ListenBoth(cfg.DNS); errs[1] != nil {
			errs[1] = fmt.Errorf("dns: %w: choose another --dns address, or off", errs[1])
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

// close closes what was opened; v may be nil.
func (v *views) close() error {
	if v == nil {
		return nil
	}
	var errs []error
	if v.http != nil {
		errs = append(errs, v.http.Close())
	}
	if v.dns != nil {
		errs = append(errs, v.dns.Close(), v.packets.Close())
	}
	return errors.Join(errs...)
}

// show serves the views: the one with the metrics last, since those are of the others, too.
func (m *Member) show(v *views) {
	if v.dns != nil {
		m.dnsAddress = v.dns.Addr().String()
		m.dns = dns.Start(dns.Config{
			Listener: v.dns, Packets: v.packets, Address: reachedAt(m.dnsAddress, m.address),
			Follow: dns.Services(m.Client), Logger: m.log,
		})
	}
	if v.http != nil {
		m.webAddress = v.http.Addr().String()
		m.web = web.Start(web.Config{Listener: v.http, Health: m.health, Metrics: m.metrics, View: view.New(m.Client), Logger: m.log})
	}
}

// reachedAt returns the first IP address among those of addresses that is none of a wildcard;
// an invalid one, if there is none.
func reachedAt(addresses ...string) netip.Addr {
	for _, a := range addresses {
		if host, _, err := net.SplitHostPort(a); err == nil {
			if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
				return ip.Unmap().WithZone("")
			}
		}
	}
	return netip.Addr{}
}

// listenHTTP opens the HTTP listener that a configuration asks for; nil if it asks for
// none.
func listenHTTP(address, member string, log *slog.Logger) (net.Listener, error) {
	if address == "" || address == HTTPOff {
		return nil, nil
	}
	chosen := address
	if address == HTTPAuto {
		chosen = autoHTTP(member)
	}
	l, err := net.Listen("tcp", chosen)
	switch {
	case err == nil:
		return l, nil
	case address == HTTPAuto:
		log.Warn("no metrics: the default HTTP address is taken: choose one with --http, or off", "address", chosen, "err", err)
		return nil, nil
	default:
		return nil, fmt.Errorf("http: %w: choose another --http address, or off", err)
	}
}

// autoHTTP returns the address of HTTPAuto for a member that listens at an
// address.
func autoHTTP(member string) string {
	host, port, err := net.SplitHostPort(member)
	if err != nil {
		return "127.0.0.1:0"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		host = "127.0.0.1"
	}
	n, _ := strconv.Atoi(port)
	if n == 0 || n > math.MaxUint16-httpOffset {
		n = -httpOffset // any free one
	}
	return net.JoinHostPort(host, strconv.Itoa(n+httpOffset))
}
