package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// curator is three members of ZooKeeper, and clients that use the recipes of Apache
// Curator. These speak Java, in one process for all connections of this one.
type curator struct {
	processes
	members []string

	mu     sync.Mutex
	bridge *bridge // nil: nothing was opened yet
}

// zooCfg is the configuration of a member. A session expires at a multiple of tickTime:
// with the usual 2 s, a TTL would be up to 2 s more than asked for. The limits between
// members are the usual 20 and 10 s, and the log is synced as always (forceSync).
const zooCfg = `tickTime=500
initLimit=40
syncLimit=20
minSessionTimeout=1000
maxSessionTimeout=60000
maxClientCnxns=0
admin.enableServer=false
dataDir=%s
`

// curatorTarget is where Maven leaves what it builds from pom.xml and Bridge.java.
var curatorTarget = filepath.Join("curator", "target")

func (c *curator) start(ctx context.Context, dir string) error {
	if err := buildCurator(ctx); err != nil {
		return err
	}
	addresses, err := freeAddresses(3 * members)
	if err != nil {
		return err
	}
	c.members = addresses[:members]
	var servers strings.Builder
	for i, a := range c.members {
		_, election, _ := strings.Cut(addresses[2*members+i], ":")
		fmt.Fprintf(&servers, "server.%d=%s:%s;%s\n", i+1, addresses[members+i], election, a)
	}
	for i := range members {
		data, cfg := member(dir, i, ""), member(dir, i, ".cfg")
		err := errors.Join(
			os.Mkdir(data, 0o700),
			os.WriteFile(filepath.Join(data, "myid"), []byte(strconv.Itoa(i+1)), 0o600),
			os.WriteFile(cfg, []byte(fmt.Sprintf(zooCfg, data)+servers.String()), 0o600),
		)
		if err != nil {
			return err
		}
		args, err := javaArgs("warn", "-Xmx1000m", "org.apache.zookeeper.server.quorum.QuorumPeerMain", cfg)
		if err != nil {
			return err
		}
		if err := c.run(member(dir, i, ".log"), "java", args...); err != nil {
			return err
		}
	}
	return await(ctx, "zookeeper does not serve", func(ctx context.Context) error { return served(ctx, c) })
}

func (c *curator) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bridge != nil {
		c.bridge.stop()
		c.bridge = nil
	}
	c.processes.stop()
}

// buildCurator has Maven fetch and compile what is in the folder curator.
func buildCurator(ctx context.Context) error {
	for _, command := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(command); err != nil {
			return fmt.Errorf("curator needs java, 17 or later, and mvn: %w", err)
		}
	}
	c := exec.CommandContext(ctx, "mvn", "-q", "-B", "compile", "dependency:build-classpath")
	c.Dir = filepath.Dir(curatorTarget)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s, run this in bench/compare: %w\n%s", c.Dir, err, out)
	}
	return nil
}

// javaArgs are arguments of java for a class from what was built. All of them log from a
// level on, to the standard error.
func javaArgs(level string, args ...string) ([]string, error) {
	libraries, err := os.ReadFile(filepath.Join(curatorTarget, "classpath"))
	if err != nil {
		return nil, err
	}
	classpath := filepath.Join(curatorTarget, "classes") + string(os.PathListSeparator) + strings.TrimSpace(string(libraries))
	return append([]string{"-cp", classpath, "-Dorg.slf4j.simpleLogger.defaultLogLevel=" + level}, args...), nil
}

func (c *curator) addresses() []string { return c.members }

// bridged returns the process of Java that has the connections.
func (c *curator) bridged() (*bridge, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bridge != nil {
		return c.bridge, nil
	}
	args, err := javaArgs("off", "Bridge") // what fails is answered
	if err != nil {
		return nil, err
	}
	c.bridge, err = startBridge("java", args...)
	return c.bridge, err
}

func (c *curator) open(ctx context.Context, ttl time.Duration) (conn, error) {
	b, err := c.bridged()
	if err != nil {
		return nil, err
	}
	id, err := b.call(ctx, "open", strings.Join(c.members, ","), strconv.FormatInt(ttl.Milliseconds(), 10))
	opened := &curatorConn{b, id}
	if err != nil {
		opened.close()
		return nil, err
	}
	return opened, nil
}

// curatorConn is a CuratorFramework, which is one session. Unlike those of the others it
// is there from the start, and not when something is locked.
type curatorConn struct {
	b  *bridge
	id string // of the request that opened it
}

func (c *curatorConn) put(ctx context.Context, key string, value []byte) error {
	_, err := c.b.call(ctx, "put", c.id, key, base64.StdEncoding.EncodeToString(value))
	return err
}

// get syncs before it reads, since a member of ZooKeeper answers reads from what it has.
func (c *curatorConn) get(ctx context.Context, key string) error {
	_, err := c.b.call(ctx, "get", c.id, key)
	return err
}

// watch is a CuratorCache. ZooKeeper notifies of a change without the value, which the
// cache then reads: of puts in quick succession it may miss the earlier ones.
func (c *curatorConn) watch(ctx context.Context, key string, ready func(), event func([]byte)) error {
	return c.b.watch(ctx, ready, func(encoded string) {
		value, err := base64.StdEncoding.DecodeString(encoded)
		if err == nil {
			event(value)
		}
	}, "watch", c.id, key)
}

func (c *curatorConn) lock(ctx context.Context, name string) (func(context.Context) error, error) {
	id, err := c.b.call(ctx, "lock", c.id, name)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := c.b.call(ctx, "end", id)
		return err
	}, nil
}

func (c *curatorConn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = c.b.call(ctx, "end", c.id)
}
