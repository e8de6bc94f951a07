package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dmap"
)

// quorate is three members of the command in this repository.
type quorate struct {
	processes
	members []string
}

func (q *quorate) start(ctx context.Context, dir string) error {
	binary := filepath.Join(dir, "quorate")
	if err := build(ctx, binary); err != nil {
		return err
	}
	var err error
	if q.members, err = freeAddresses(members); err != nil {
		return err
	}
	for i, a := range q.members {
		err := q.run(
			member(dir, i, ".log"), binary, "start", "--name", member("", i, ""), "--listen", a, "--http", "off",
			"--bootstrap-expect", "3", "--join", strings.Join(q.members, ","), "--data-dir", member(dir, i, ""), "--log-level", "warn",
		)
		if err != nil {
			return err
		}
	}
	return await(ctx, "quorate does not serve", func(ctx context.Context) error { return served(ctx, q) })
}

func (q *quorate) addresses() []string { return q.members }

// build builds the command, as its own module says: this one has not all of it.
func build(ctx context.Context, binary string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/quorate/quorate").Output()
	if err != nil {
		return fmt.Errorf("find the module of quorate, run this in bench/compare: %w", err)
	}
	c := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/quorate")
	c.Dir = strings.TrimSpace(string(root))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build quorate: %w\n%s", err, out)
	}
	return nil
}

func (q *quorate) open(ctx context.Context, ttl time.Duration) (conn, error) {
	c, err := client.Dial(ctx, q.members, client.WithSessionTTL(ttl))
	if err != nil {
		return nil, err
	}
	return &quorateConn{c, dmap.New[string, []byte](c, "bench")}, nil
}

type quorateConn struct {
	c *client.Client
	m *dmap.Map[string, []byte]
}

func (c *quorateConn) put(ctx context.Context, key string, value []byte) error {
	return c.m.Put(ctx, key, value)
}

func (c *quorateConn) get(ctx context.Context, key string) error {
	_, _, err := c.m.Get(ctx, key)
	return err
}

func (c *quorateConn) watch(ctx context.Context, key string, ready func(), event func([]byte)) error {
	for e, err := range c.m.Watch(ctx, dmap.Key(key)) {
		switch {
		case err != nil:
			return err
		case e.Type == dmap.Synced:
			ready()
		case e.Type == dmap.Put:
			event(e.Value)
		}
	}
	return nil
}

func (c *quorateConn) lock(ctx context.Context, name string) (func(context.Context) error, error) {
	h, err := dlock.New(c.c, name).Lock(ctx)
	if err != nil {
		return nil, err
	}
	return h.Release, nil
}

func (c *quorateConn) close() { _ = c.c.Close() }
