package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/quorate/quorate"
)

func TestSeeds(t *testing.T) {
	for seed, want := range map[string]string{ // "": accepted
		"localhost:7170":   "",
		" 10.0.0.1:7170\n": "",
		"[::1]:7170":       "",
		":7170":            "",
		"":                 "empty",
		"  ":               "empty",
		"http://a:7170":    "scheme \"http\"",
		"a b:7170":         "blank",
		"::1:7170":         "brackets",
		"localhost":        "port is missing",
		"a:":               "port \"\"",
		"a:x":              "port \"x\"",
		"a:65536":          "port \"65536\"",
		"a:0":              "port \"0\"",
	} {
		cfg, err := newConfig([]string{"good:7170", seed}, nil)
		if want == "" {
			if err != nil || cfg.seeds[1] != strings.TrimSpace(seed) {
				t.Errorf("%q: got %v, %q", seed, err, cfg.seeds)
			}
			continue
		}
		if !errors.Is(err, quorate.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "good") {
			t.Errorf("%q: got %v", seed, err)
		}
		_, asked := Ask(t.Context(), seed, "status", nil)
		_, dialed := Dial(t.Context(), []string{"good:7170", seed})
		for _, err := range []error{asked, dialed} {
			if !errors.Is(err, quorate.ErrInvalid) || !quorate.SafeToRetry(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: got %v", seed, err)
			}
		}
	}
}

// TestSeedThatIsNoMember: the error says what is wrong with the seed, not with the
// bytes.
func TestSeedThatIsNoMember(t *testing.T) {
	for name, answer := range map[string]string{
		"web server": "HTTP/1.1 400 Bad Request\r\n\r\n",
		"ssh server": "SSH-2.0-OpenSSH_9.6\r\n",
		"TLS alert":  "\x15\x03\x01\x00\x02\x02\x46",
		"nothing":    "",
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				b := make([]byte, 4096)
				nc.Read(b)
				nc.Write([]byte(answer))
				nc.(*net.TCPConn).CloseWrite()
				nc.Read(b) // until the client hangs up
				nc.Close()
			}
		}()
		_, err = Dial(testContext(t), []string{ln.Addr().String()})
		if !errors.Is(err, quorate.ErrUnavailable) || !strings.Contains(err.Error(), "not a member") || !strings.Contains(err.Error(), ln.Addr().String()) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestSeedErrors: what is wrong with each seed is said in one line.
func TestSeedErrors(t *testing.T) {
	down := errors.New("connection refused")
	_, err := Dial(t.Context(), []string{"a:1", "b:1"}, WithDialer(func(context.Context, string) (net.Conn, error) { return nil, down }))
	if want := "dial: unavailable: a:1: connection refused; b:1: connection refused"; err == nil || err.Error() != want || !errors.Is(err, down) {
		t.Errorf("%v, want %s", err, want)
	}
}
