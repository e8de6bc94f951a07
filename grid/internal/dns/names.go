package dns

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// The names that there are. All are answered whatever their case.
const (
	zone       = "quorate."
	server     = "ns.quorate."         // where this is
	hostmaster = "hostmaster.quorate." // who answers for the zone, as an address of mail
	addresses  = ".addr.quorate."      // below it, an IP address in hexadecimal
)

// maxHost is how many bytes the name of a host has at most.
const maxHost = 253

// nameKind is what a name in a question names.
type nameKind uint8

const (
	outside   nameKind = iota // of the zone
	absent                    // in the zone, a name that there never is
	between                   // a name with others below it, and nothing else
	apex                      // of the zone
	atServer                  // this server
	atAddress                 // an IP address
	atService                 // a service
)

// target is a name of a question, read.
type target struct {
	kind    nameKind
	service string
	tag     string // in lower case; empty: any instance
	ip      netip.Addr
}

// read reads the name of a question, in the form that package miekg/dns gives it: bytes that
// are not for names are escaped.
func read(name string) target {
	labels := dns.SplitDomainName(strings.ToLower(name))
	n := len(labels)
	switch {
	case n == 0 || labels[n-1]+"." != zone:
		return target{kind: outside}
	case n == 1:
		return target{kind: apex}
	}
	below := labels[:n-2]
	switch labels[n-2] {
	case "service":
		return readService(below)
	case "addr":
		return readAddress(below)
	case "ns":
		if len(below) == 0 {
			return target{kind: atServer}
		}
	}
	return target{kind: absent}
}

// readService reads what is before .service.quorate: NAME, TAG.NAME, or _NAME._TAG, as
// RFC 2782 has it.
func readService(labels []string) target {
	for _, l := range labels {
		if !isLabel(l) {
			return target{kind: absent}
		}
	}
	reserved := func(i int) bool { return labels[i][0] == '_' }
	switch {
	case len(labels) == 0, len(labels) == 1 && reserved(0):
		return target{kind: between}
	case len(labels) == 1:
		return target{kind: atService, service: labels[0]}
	case len(labels) > 2 || reserved(0) != reserved(1):
		return target{kind: absent}
	case !reserved(0):
		return target{kind: atService, service: labels[1], tag: labels[0]}
	}
	t := target{kind: atService, service: labels[0][1:], tag: labels[1][1:]}
	if t.service == "" || t.tag == "" {
		return target{kind: absent}
	}
	if t.tag == "tcp" || t.tag == "udp" { // the transport: instances do not say theirs
		t.tag = ""
	}
	return t
}

// readAddress reads what is before .addr.quorate.
func readAddress(labels []string) target {
	if len(labels) == 0 {
		return target{kind: between}
	}
	b, err := hex.DecodeString(labels[0])
	ip, ok := netip.AddrFromSlice(b)
	if len(labels) > 1 || err != nil || !ok {
		return target{kind: absent}
	}
	return target{kind: atAddress, ip: ip}
}

// nameOf returns the name whose address is ip.
func nameOf(ip netip.Addr) string { return hex.EncodeToString(ip.AsSlice()) + addresses }

// isLabel reports whether s can be a part of a name: 1 to 63 letters, digits, hyphens and
// underscores.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// hostOf returns the address of an instance as the name of a host with its final dot; empty:
// it is none.
func hostOf(address string) string {
	address = strings.TrimSuffix(address, ".")
	if len(address) > maxHost || !strings.ContainsFunc(address, isLetter) {
		return ""
	}
	for l := range strings.SplitSeq(address, ".") {
		if !isLabel(l) {
			return ""
		}
	}
	return address + "."
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
