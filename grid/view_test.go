package grid_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/internal/view"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/roster"
)

// TestView: what is registered can be read over HTTP, and the next change be waited for.
func TestView(t *testing.T) {
	m := start(t, grid.Config{Durability: grid.Memory, Name: "a", HTTP: grid.HTTPAuto})
	ready(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	s := dservice.New(m.Client(), "web")
	reg, err := s.Register(ctx, dservice.Instance{ID: "a", Address: "10.0.0.5", Port: 8080, Tags: []string{"v2"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Register(ctx, dservice.Instance{ID: "b"}, dservice.Initially(dservice.Critical, "starting")); err != nil {
		t.Fatal(err)
	}
	if _, err := dpresence.New[map[string]int](m.Client(), "workers").Join(ctx, map[string]int{"slots": 4}, dpresence.ID("w1")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path       string
		code       int
		says, hide string
	}{
		{"/v1/services", 200, `{"services":["web"]}`, ""},
		{"/v1/services/web", 200, `{"id":"a","address":"10.0.0.5","port":8080,"tags":["v2"],"health":"passing","drained":false,`, `"b"`},
		{"/v1/services/web?health=critical", 200, `"id":"b"`, `"a"`},
		{"/v1/services/web?health=any&stale", 200, `"note":"starting"`, ""},
		{"/v1/services/web?tag=v3", 200, `{"instances":[],"service":"web"}`, ""},
		{"/v1/services/web?health=fine", 400, "passing, warning", ""},
		{"/v1/services/web?wait=1s", 400, "after=REVISION", ""},
		{"/v1/services/web?tags=v3", 400, "tags is unknown", ""},
		{"/v1/services?after=1&wait=1s", 400, "this path has no parameters", ""},
		{"/v1/members?after=1&wait=1s", 400, "this path has no parameters", ""},
		{"/v1/locks/web?after=1", 400, "this path has no parameters", ""},
		{"/v1/presence/web?tag=v3", 400, "want one of after, wait, stale", ""},
		{"/v1/services/web?after=1&wait=1h", 400, "at most 5m", ""},
		{"/v1/services/" + strings.Repeat("x", 300), 400, "too large", ""},
		{"/v1/presence/workers", 200, `"payload":{"slots":4}`, ""},
		{"/v1/presence/none", 200, `"members":[]`, ""},
		{"/v1/members", 200, `"name":"a"`, ""},
		{"/v1/else", 404, "", ""},
		{"/", 200, "/v1/services", ""},
	} {
		code, body := fetch(t, m, test.path)
		if code != test.code || !strings.Contains(body, test.says) || test.hide != "" && strings.Contains(body, test.hide) {
			t.Errorf("%s: %d %s", test.path, code, body)
		}
	}

	// An instance that the member cannot decode is named beside the others.
	kind := dservice.Kind()
	if _, err := roster.New(m.Client(), &kind, "web", nil).Register(ctx, roster.Registering{ID: "c", Data: []byte{0xff}}); err != nil {
		t.Fatal(err)
	}
	code, body := fetch(t, m, "/v1/services/web")
	if code != 200 || !strings.HasPrefix(body, `{"error":"list service web: instance c: another codec`) || !strings.Contains(body, `"id":"a"`) {
		t.Errorf("%d %s", code, body)
	}

	// Of the revision that was read, the next change is waited for; another history's is one.
	read := func(path string) string {
		r, err := http.Get("http://" + m.HTTPAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.Header.Get(view.Revision)
	}
	revision := read("/v1/services/web")
	changed := make(chan string, 1)
	go func() {
		_, body := fetch(t, m, fmt.Sprintf("/v1/services/web?after=%s&wait=30s&health=any", revision))
		changed <- body
	}()
	if err := reg.Warning(ctx, "slow"); err != nil {
		t.Fatal(err)
	}
	select {
	case body := <-changed:
		if !strings.Contains(body, `"note":"slow"`) {
			t.Errorf("the change that came is not there: %s", body)
		}
	case <-time.After(20 * time.Second):
		t.Error("the change does not come")
	}
	if got := read("/v1/services/web?after=18446744073709551615&wait=4m"); got == "" {
		t.Error("no revision")
	}
	if got := read(fmt.Sprintf("/v1/services/web?after=%s&wait=100ms", read("/v1/services/web"))); got == "" {
		t.Error("when the wait is over there is no answer")
	}
}
