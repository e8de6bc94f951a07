package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// etcd is three members of etcd. Each is a process of this command, so that they
// share no scheduler, no collector and no disk queue with the load.
type etcd struct {
	processes
	clients []string
}

// etcdMember is the first argument of such a process; after it come name, data
// directory, address for clients, address for members, and the whole cluster.
const etcdMember = "etcd-member"

func (e *etcd) start(ctx context.Context, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	addresses, err := freeAddresses(2 * members)
	if err != nil {
		return err
	}
	e.clients = addresses[:members]
	peers := addresses[members:]
	var cluster []string
	for i, a := range peers {
		cluster = append(cluster, fmt.Sprintf("%s=http://%s", member("", i, ""), a))
	}
	for i := range members {
		err := e.run(member(dir, i, ".log"), self, etcdMember, member("", i, ""), member(dir, i, ""), e.clients[i], peers[i], strings.Join(cluster, ","))
		if err != nil {
			return err
		}
	}
	return await(ctx, "etcd does not serve", func(ctx context.Context) error { return served(ctx, e) })
}

func (e *etcd) addresses() []string { return e.clients }

func (e *etcd) open(ctx context.Context, ttl time.Duration) (conn, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: e.clients, Context: ctx, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	return &etcdConn{c: c, session: sync.OnceValues(func() (*concurrency.Session, error) {
		return concurrency.NewSession(c, concurrency.WithTTL(int(ttl.Seconds())))
	})}, nil
}

type etcdConn struct {
	c       *clientv3.Client
	session func() (*concurrency.Session, error)
}

func (c *etcdConn) put(ctx context.Context, key string, value []byte) error {
	_, err := c.c.Put(ctx, key, string(value))
	return err
}

func (c *etcdConn) get(ctx context.Context, key string) error {
	_, err := c.c.Get(ctx, key)
	return err
}

func (c *etcdConn) watch(ctx context.Context, key string, ready func(), event func([]byte)) error {
	for r := range c.c.Watch(ctx, key, clientv3.WithCreatedNotify()) {
		if err := r.Err(); err != nil {
			return err
		}
		if r.Created {
			ready()
		}
		for _, e := range r.Events {
			event(e.Kv.Value)
		}
	}
	return ctx.Err()
}

func (c *etcdConn) lock(ctx context.Context, name string) (func(context.Context) error, error) {
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	m := concurrency.NewMutex(s, name)
	if err := m.Lock(ctx); err != nil {
		return nil, err
	}
	return m.Unlock, nil
}

func (c *etcdConn) close() { _ = c.c.Close() }

// runEtcdMember is what a member's process does until it is ended.
func runEtcdMember(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("%s takes 5 arguments, not %d", etcdMember, len(args))
	}
	local := func(address string) []url.URL { return []url.URL{{Scheme: "http", Host: address}} }
	c := embed.NewConfig()
	c.Name, c.Dir, c.InitialCluster = args[0], args[1], args[4]
	c.ListenClientUrls, c.AdvertiseClientUrls = local(args[2]), local(args[2])
	c.ListenPeerUrls, c.AdvertisePeerUrls = local(args[3]), local(args[3])
	c.LogLevel = "warn"
	c.QuotaBackendBytes = 8 << 30
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer e.Close()
	interrupted, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	select {
	case err := <-e.Err():
		return err
	case <-interrupted.Done():
		return nil
	}
}
