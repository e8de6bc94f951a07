package client

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// checkSeed says what is wrong with what is no address of the form host:port.
func checkSeed(seed string) error {
	bad := func(why string) error { return fmt.Errorf("seed address %q: %s", seed, why) }
	if seed == "" {
		return bad("it is empty: name an address as host:port")
	}
	if scheme, _, ok := strings.Cut(seed, "://"); ok {
		return bad(fmt.Sprintf("leave the scheme %q out: an address is host:port", scheme))
	}
	if strings.ContainsAny(seed, " \t\r\n") {
		return bad("there is a blank in it")
	}
	_, port, err := net.SplitHostPort(seed)
	switch {
	case err == nil:
	case strings.Count(seed, ":") > 1 && !strings.Contains(seed, "["):
		return bad("an IPv6 address stands in brackets: [::1]:7170")
	case !strings.Contains(seed, ":"):
		return bad("the port is missing: an address is host:port")
	default:
		return bad("an address is host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return bad(fmt.Sprintf("the port %q is not a number within 1 to 65535", port))
	}
	return nil
}
