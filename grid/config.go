package grid

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid/internal/coordinator/formation"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// Durability says what an acknowledged write survives.
type Durability string

// The durabilities.
const (
	// Disk survives the loss of any minority of a group's replicas, and a power
	// cut of all of them. It is the default.
	Disk Durability = "disk"
	// Memory survives the loss of any minority, and nothing more. A member writes
	// nothing to disk and is a new one at every start.
	Memory Durability = "memory"
)

// Defaults of a Config.
const (
	DefaultListen          = "127.0.0.1:7170"
	DefaultShutdownTimeout = 30 * time.Second
	DefaultHistoryBytes    = groupstate.DefaultHistory
)

// Of a cluster that a member founds whose Config says nothing of them.
const (
	DefaultGroups   = formation.DefaultGroups
	DefaultReplicas = formation.DefaultReplicas
)

// Values of Config.HTTP that are not addresses.
const (
	// HTTPOff: no HTTP listener.
	HTTPOff = "off"
	// HTTPAuto: on loopback, at the port of Listen plus 1000. If that port is in use
	// the member logs a warning and runs without HTTP.
	HTTPAuto = "auto"
)

// DNSOff is the value of Config.DNS that is no address: no DNS.
const DNSOff = HTTPOff

// httpOffset is how far above the member's port HTTPAuto is.
const httpOffset = 1000

// unnamedCluster is the name in the example configuration in deploy/, which is refused:
// a cluster must have a name of its own, because two clusters that share a name and an
// address could be taken for one.
const unnamedCluster = "CHANGE-ME"

const (
	maxName       = 64
	maxAddress    = 255
	maxGroups     = 256
	maxPartitions = 65_536
	maxReplicas   = 9
	maxExpect     = 99
	minHistory    = 4 << 10
	maxHistory    = 1 << 30
	minMemory     = 64 << 20
)

// Config is how a member is started. A zero field means its default.
type Config struct {
	// Name is the name that operators see. The default is the host's name.
	Name string
	// DataDir holds the member's data and identity. No two members may share it. With
	// Memory it is not used, and files in it are left alone.
	DataDir string
	// Listen is the one address, for TCP and UDP. The default is DefaultListen;
	// port 0 chooses a free port.
	Listen string
	// Advertise is the address at which others reach the member. The default is
	// the address it listens on; a wildcard Listen needs it.
	Advertise string
	// Join lists addresses of other members. It may contain this member's own.
	Join []string
	// BootstrapExpect is how many members form the cluster when it first starts. With
	// 0, a member with Join only ever joins a formed cluster, and one without Join
	// founds a cluster alone.
	BootstrapExpect int
	// Cluster is the cluster's name. Members of a cluster with another name are
	// refused. If it is empty the member joins a cluster of any name, and founds one
	// named "quorate".
	Cluster string
	// Durability is Disk by default. It is fixed at the cluster's first start: a
	// member with another is refused.
	Durability Durability
	// Partitions, Groups and Replicas are fixed at the cluster's first start, too. Zero
	// takes what the cluster has; a cluster that this member founds has 271,
	// [DefaultGroups] and [DefaultReplicas].
	Partitions int
	Groups     int
	Replicas   int
	// HistoryBytes is how many bytes of changes each group keeps for watches. It is fixed
	// when a group is formed, by the member that leads it then. The default is
	// [DefaultHistoryBytes], 16 MiB.
	HistoryBytes int
	// Insecure allows other addresses than loopback: connections are neither
	// encrypted nor authenticated.
	Insecure bool
	// HTTP is the address of /livez, /readyz, /metrics and /debug/pprof, HTTPAuto,
	// or HTTPOff, which is the default. Profiles are for callers on this machine
	// only, wherever it listens.
	HTTP string
	// DNS is the address, UDP and TCP, at which the instances of services can be asked for
	// over DNS, or DNSOff, which is the default. What the member does not know before
	// [Member.Ready] has returned is answered with SERVFAIL.
	DNS string
	// SlowOp is how long an operation may take. For a slower one the member logs a
	// warning that says how long it was queued, replicated and applied. The default is
	// no warning.
	SlowOp time.Duration
	// ShutdownTimeout bounds Close. The default is DefaultShutdownTimeout.
	ShutdownTimeout time.Duration
	// MemoryLimit is how many bytes of memory the member may use. While live data takes
	// more than 85 % of it, the groups with a replica on this member refuse operations
	// that make them grow. The default is the runtime's limit, which GOMEMLIMIT sets,
	// or else nine tenths of what the system lets the process have.
	MemoryLimit int64
	// Tick is Raft's unit of time. An election takes 9 to 18 of them. The default
	// is 50 ms.
	Tick time.Duration
	// Logger takes the member's log. The default discards it.
	Logger *slog.Logger
}

// EffectiveName returns the name of a member with this configuration: Name, or the
// host's.
func (c Config) EffectiveName() string {
	if c.Name != "" {
		return c.Name
	}
	if host, _ := os.Hostname(); host != "" {
		return host
	}
	return "member"
}

func (c *Config) setDefaults() {
	c.Name = c.EffectiveName()
	if c.Durability == "" {
		c.Durability = Disk
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.ShutdownTimeout == 0 {
		c.ShutdownTimeout = DefaultShutdownTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate returns every problem of the configuration in one error, nil if there is
// none. The error Is quorate.ErrInvalid.
func (c Config) Validate() error {
	c.setDefaults()
	p := &problems{insecure: c.Insecure}
	switch c.Durability {
	case Disk:
		if c.DataDir == "" {
			p.add("data directory: none is named: set DataDir, or Durability to Memory")
		}
	case Memory:
	default:
		p.add("durability %q: it is disk or memory", string(c.Durability))
	}
	p.name("name", c.Name)
	p.name("cluster", c.Cluster)
	if c.Cluster == unnamedCluster {
		p.add("cluster %q: that is the name in the example: give this cluster one of its own", c.Cluster)
	}
	p.listen(c.Listen, c.Advertise)
	if c.HTTP != HTTPAuto {
		p.view("http", c.HTTP)
	}
	p.view("dns", c.DNS)
	for _, a := range c.Join {
		p.address("join", a, false)
	}
	p.between("bootstrap-expect", c.BootstrapExpect, maxExpect)
	p.between("partitions", c.Partitions, maxPartitions)
	p.between("groups", c.Groups, maxGroups)
	p.between("replicas", c.Replicas, maxReplicas)
	if n := c.HistoryBytes; n != 0 && (n < minHistory || n > maxHistory) {
		p.add("history-bytes %d: it is from %d to %d", n, minHistory, maxHistory)
	}
	if c.ShutdownTimeout < 0 {
		p.add("shutdown timeout %v: it is not negative", c.ShutdownTimeout)
	}
	if c.SlowOp < 0 {
		p.add("slow-op %v: it is not negative", c.SlowOp)
	}
	if c.MemoryLimit < 0 || c.MemoryLimit > 0 && c.MemoryLimit < minMemory {
		p.add("memory limit %d: it is at least %d bytes", c.MemoryLimit, minMemory)
	}
	if c.Tick != 0 && (c.Tick < time.Millisecond || c.Tick > time.Second) {
		p.add("tick %v: it is from 1 ms to 1 s", c.Tick)
	}
	if len(p.all) > 0 {
		return &invalidConfig{p.all}
	}
	return nil
}

// problems gathers the problems of a configuration.
type problems struct {
	all      []error
	insecure bool
}

func (p *problems) add(format string, args ...any) {
	p.all = append(p.all, fmt.Errorf(format, args...))
}

func (p *problems) name(what, s string) {
	if len(s) > maxName || !utf8.ValidString(s) || hasControl(s) {
		p.add("%s %q: it has at most %d bytes of UTF-8 without control characters", what, s, maxName)
	}
}

func (p *problems) between(what string, n, most int) {
	if n < 0 || n > most {
		p.add("%s %d: it is from 0 to %d", what, n, most)
	}
}

// address returns the host of an address.
func (p *problems) address(what, s string, zeroPort bool) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		p.add("%s %q: %w: it is HOST:PORT", what, s, err)
		return ""
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 || n == 0 && !zeroPort || len(s) > maxAddress {
		p.add("%s %q: the port is a number from 1 to 65535", what, s)
	}
	return host
}

// listen checks where a member listens, and where others reach it.
func (p *problems) listen(listen, advertise string) {
	on := p.address("listen", listen, true)
	if _, _, err := net.SplitHostPort(listen); err != nil {
		return // what more could be said of it is about no address
	}
	reached := on
	if advertise != "" {
		reached = p.address("advertise", advertise, false)
		if isWildcard(reached) {
			p.add("advertise %q: others cannot reach a wildcard: name an address of this host", advertise)
		}
	} else if isWildcard(on) {
		p.add("listen %q: a wildcard says nothing to the others: set the address to advertise", listen)
	}
	if !p.insecure && (!isLoopback(on) || !isLoopback(reached)) {
		p.add("listen %q: connections are not encrypted yet: anything but loopback needs insecure", listen)
	}
}

// view checks where a member shows something to whoever asks.
func (p *problems) view(what, s string) {
	if s == "" || s == HTTPOff {
		return
	}
	if host := p.address(what, s, true); !p.insecure && !isLoopback(host) {
		p.add("%s %q: it is neither encrypted nor authenticated: anything but loopback needs insecure", what, s)
	}
}

// invalidConfig is the error that lists the problems of a configuration. It Is
// quorate.ErrInvalid.
type invalidConfig struct{ problems []error }

func (e *invalidConfig) Error() string { return errors.Join(e.problems...).Error() }

// Unwrap returns the problems and quorate.ErrInvalid.
func (e *invalidConfig) Unwrap() []error { return append(slices.Clip(e.problems), quorate.ErrInvalid) }

func hasControl(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}

func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
