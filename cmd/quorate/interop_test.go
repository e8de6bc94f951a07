package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
)

type user struct {
	Name   string    `json:"name"`
	Logins int       `json:"logins"`
	Score  float64   `json:"score"`
	Tags   []string  `json:"tags"`
	Since  time.Time `json:"since"`
	Boss   *user     `json:"boss"`
}

// What a command stores, a typed handle reads, and the other way round.
func TestCommandsAndHandlesReadEachOther(t *testing.T) {
	ctx := t.Context()
	g, err := member.StartDev(ctx, member.DevConfig{Members: 1, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	t.Setenv("QUORATE_ENDPOINTS", g.Addresses()[0])
	c, err := client.Dial(ctx, g.Addresses())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		a := &cli.App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
		if code := run(a, args); code != 0 {
			t.Fatalf("quorate %v: exit %d: %s", args, code, errs.String())
		}
		return strings.TrimSuffix(out.String(), "\n")
	}
	users := dmap.New[string, user](c, "users")
	boss := user{Name: "grace", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	ada := user{Name: "ada", Logins: -3, Score: 2.5, Tags: []string{"a", "b"}, Boss: &boss}

	run("map", "put", "users", "bob", `{"name":"bob","logins":7,"score":1,"tags":["x"],"boss":{"name":"ada"}}`)
	got, ok, err := users.Get(ctx, "bob")
	want := user{Name: "bob", Logins: 7, Score: 1, Tags: []string{"x"}, Boss: &user{Name: "ada"}}
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("put by command, read by handle (-want +got):\n%s", d)
	}

	if err := users.Put(ctx, "ada", ada); err != nil {
		t.Fatal(err)
	}
	if got := run("map", "get", "users", "ada"); got != `{"boss":{"boss":null,"logins":0,"name":"grace","score":0,"since":"2026-01-02T03:04:05Z","tags":null},"logins":-3,"name":"ada","score":2.5,"since":null,"tags":["a","b"]}` {
		t.Errorf("put by handle, read by command: %s", got)
	}

	counts := dmap.New[int64, int64](c, "counts")
	run("map", "put", "counts", "-5", "42", "--int-key")
	if n, ok, err := counts.Get(ctx, -5); err != nil || !ok || n != 42 {
		t.Errorf("an integer under an integer: %d, %v, %v", n, ok, err)
	}
	if _, err := dmap.Add(ctx, counts, -5, 1); err != nil {
		t.Error(err)
	}
	if got := run("map", "get", "counts", "-5", "--int-key"); got != "43" {
		t.Errorf("an integer, read by command: %s", got)
	}
	texts := dqueue.New[string](c, "texts")
	run("queue", "put", "texts", "42", "--text")
	if s, ok, err := texts.Poll(ctx); err != nil || !ok || s != "42" {
		t.Errorf("text from a queue: %q, %v, %v", s, ok, err)
	}
}
