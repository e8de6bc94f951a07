package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dmap"
)

// quorate is three members of the command in this repository.
type quorate struct {
	processes
	addresses []string
}

func (q *quorate) start(ctx context.Context, dir string) error {
	binary := filepath.Join(dir, "quorate")
	if err := build(ctx, binary); err != nil {
		return err
	}
	var err error
	if q.addresses, err = freeAddresses(members); err != nil {
		return err
	}
	for i, a := range q.addresses {
		err := q.run(
			member(dir, i, ".log"), binary, "start", "--name", member("", i, ""), "--listen", a, "--http", "off",
			"--bootstrap-expect", "3", "--join", strings.Join(q.addresses, ","), "--data-dir", member(dir, i, ""), "--log-level", "warn",
		)
		if err != nil {
			return err
		}
	}
	return await(ctx, "quorate does not serve", func(ctx context.Context) error {
		c, err := q.open(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		return c.put(ctx, "ready", nil)
	})
}

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

func (q *quorate) open(ctx context.Context) (conn, error) {
	c, err := client.Dial(ctx, q.addresses)
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

func (c *quorateConn) close() { _ = c.c.Close() }
