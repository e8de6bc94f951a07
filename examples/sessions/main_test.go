package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
)

// TestSessions logs in at one server and is known at the other, until nobody has come
// for a while.
func TestSessions(t *testing.T) {
	c := gridtest.Start(t, 1).Client(t)
	one, two := httptest.NewServer(handler(c, time.Hour)), httptest.NewServer(handler(c, time.Hour))
	soon := httptest.NewServer(handler(c, time.Second)) // after a visit there a login ends soon
	defer one.Close()
	defer two.Close()
	defer soon.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	visit := func(server *httptest.Server) (int, string) {
		t.Helper()
		r, err := browser.Get(server.URL + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	if code, _ := visit(one); code != http.StatusUnauthorized {
		t.Errorf("before the login: %d", code)
	}
	r, err := browser.PostForm(one.URL+"/login", url.Values{"name": {"ada"}})
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if _, text := visit(one); text != "ada, visit 1\n" {
		t.Errorf("the first visit: %q", text)
	}
	if _, text := visit(two); text != "ada, visit 2\n" { // cookies are of the host, whatever its port
		t.Errorf("the second visit: %q", text)
	}
	if _, text := visit(soon); text != "ada, visit 3\n" {
		t.Errorf("the third visit: %q", text)
	}
	logins := dmap.New[string, login](c, "logins")
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) { // to ask for it does not prolong it
		n, err := logins.Len(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatal("it does not expire")
		}
	}
	if code, text := visit(two); code != http.StatusUnauthorized {
		t.Errorf("when it has expired: %d %q", code, text)
	}
}
