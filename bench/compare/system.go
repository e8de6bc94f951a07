package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// system is a store of three processes under test.
type system interface {
	// start starts it with its data below dir; its logs go there, too.
	start(ctx context.Context, dir string) error
	// open returns a connection, with a session of its own that has the TTL. Sessions
	// are opened when something is locked.
	open(ctx context.Context, ttl time.Duration) (conn, error)
	// addresses are those of its members, for clients.
	addresses() []string
	stop()
}

// conn is a client. It is used by many goroutines at once.
type conn interface {
	put(ctx context.Context, key string, value []byte) error
	get(ctx context.Context, key string) error
	// watch calls ready when the watch is registered, and event with the value of each
	// put of the key that comes after. It returns when ctx ends.
	watch(ctx context.Context, key string, ready func(), event func(value []byte)) error
	// lock waits for a lock and returns what unlocks it.
	lock(ctx context.Context, name string) (unlock func(context.Context) error, err error)
	close()
}

// systems are the systems by name.
var systems = map[string]func() system{
	"quorate": func() system { return &quorate{} },
	"etcd":    func() system { return &etcd{} },
	"curator": func() system { return &curator{} },
}

// clients are the systems by name, to open connections to members that run.
var clients = map[string]func(addresses []string) system{
	"quorate": func(addresses []string) system { return &quorate{members: addresses} },
	"etcd":    func(addresses []string) system { return &etcd{clients: addresses} },
	"curator": func(addresses []string) system { return &curator{members: addresses} },
}

const members = 3

// processes are the members of a system.
type processes []*exec.Cmd

// run starts a process whose output goes to a file.
func (p *processes) run(log string, command string, args ...string) error {
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close()
	c := exec.Command(command, args...)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		return err
	}
	*p = append(*p, c)
	return nil
}

// stop ends the processes, each by its own id, and waits until they have ended.
func (p *processes) stop() {
	for _, c := range *p {
		_ = c.Process.Kill()
	}
	for _, c := range *p {
		_ = c.Wait()
	}
	*p = nil
}

// await tries until it succeeds, for a minute at most.
func await(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// served opens a connection and puts something, once.
func served(ctx context.Context, s system) error {
	c, err := s.open(ctx, defaultTTL)
	if err != nil {
		return err
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return c.put(ctx, "ready", nil)
}

// member names a member's folder or file.
func member(dir string, i int, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("n%d%s", i+1, suffix))
}
