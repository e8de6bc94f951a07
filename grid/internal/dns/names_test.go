package dns

import (
	"net/netip"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	service := func(name, tag string) target { return target{kind: atService, service: name, tag: tag} }
	address := func(ip string) target { return target{kind: atAddress, ip: netip.MustParseAddr(ip)} }
	long := strings.Repeat("a", 63)
	for name, want := range map[string]target{
		".":                     {kind: outside},
		"com.":                  {kind: outside},
		"quorate.com.":          {kind: outside},
		"service.consul.":       {kind: outside},
		"web.service.xquorate.": {kind: outside},

		"quorate.":         {kind: apex},
		"QuoRate.":         {kind: apex},
		"ns.quorate.":      {kind: atServer},
		"x.ns.quorate.":    {kind: absent},
		"service.quorate.": {kind: between},
		"addr.quorate.":    {kind: between},
		"web.quorate.":     {kind: absent},

		"web.service.quorate.":             service("web", ""),
		"WEB.Service.QUORATE.":             service("web", ""),
		"v2.web.service.quorate.":          service("web", "v2"),
		"V2.wEb.service.quorate.":          service("web", "v2"),
		"a_b-1.service.quorate.":           service("a_b-1", ""),
		long + ".service.quorate.":         service(long, ""),
		"x.v2.web.service.quorate.":        {kind: absent},
		`v2\.web.service.quorate.`:         {kind: absent},
		`w\195\164b.service.quorate.`:      {kind: absent},
		`w\@b.service.quorate.`:            {kind: absent},
		"a:b.service.quorate.":             {kind: absent},
		"_web._tcp.service.quorate.":       service("web", ""),
		"_web._UDP.service.quorate.":       service("web", ""),
		"_web._v2.service.quorate.":        service("web", "v2"),
		"_tcp.service.quorate.":            {kind: between},
		"_web.v2.service.quorate.":         {kind: absent},
		"web._tcp.service.quorate.":        {kind: absent},
		"_._tcp.service.quorate.":          {kind: absent},
		"_web._.service.quorate.":          {kind: absent},
		"_a._web._tcp.service.quorate.":    {kind: absent},
		"0A000005.addr.quorate.":           address("10.0.0.5"),
		"0a000005.x.addr.quorate.":         {kind: absent},
		"x.0a000005.addr.quorate.":         {kind: absent},
		"0a0000.addr.quorate.":             {kind: absent},
		"0a00000g.addr.quorate.":           {kind: absent},
		strings.TrimPrefix(addresses, "."): {kind: between},

		"20010db8000000000000000000000001.addr.quorate.": address("2001:db8::1"),
	} {
		if got := read(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	for _, ip := range []string{"10.0.0.5", "::1", "2001:db8::1"} {
		if got := read(nameOf(netip.MustParseAddr(ip))); got != address(ip) {
			t.Errorf("%s comes back as %+v", ip, got)
		}
	}
}

func TestHostOf(t *testing.T) {
	for address, want := range map[string]string{
		"": "", "10.0.0": "", "web": "web.", "web.example.org": "web.example.org.", "Web.example.org.": "Web.example.org.",
		"web:80": "", "a..b": "", ".": "", "a b": "", strings.Repeat("a", 64): "", strings.Repeat("a.", 128): "",
		strings.Repeat("a.", 126) + "a": strings.Repeat("a.", 126) + "a.",
	} {
		if got := hostOf(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
