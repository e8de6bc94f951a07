package member

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/protocol"
)

type StartCommand struct {
	Name            string        `help:"Name of the member; the host's name if left out." env:"QUORATE_NAME" placeholder:"N"`
	DataDir         string        `help:"Where the member keeps its data, if durability is disk; quorate-data if left out." env:"QUORATE_DATA_DIR" placeholder:"D"`
	Listen          string        `help:"Address to listen on, TCP and UDP." env:"QUORATE_LISTEN" default:"127.0.0.1:7170" placeholder:"A"`
	Advertise       string        `help:"Address at which others reach this member; the one it listens on if left out." env:"QUORATE_ADVERTISE" placeholder:"A"`
	Join            []string      `help:"Addresses of other members." env:"QUORATE_JOIN" placeholder:"A,B"`
	BootstrapExpect int           `help:"How many new members form the grid when they see each other. Without it a member with --join only joins a grid that exists, and one without founds its own." env:"QUORATE_BOOTSTRAP_EXPECT" placeholder:"N"`
	Cluster         string        `help:"Name of the cluster; members of another are refused." env:"QUORATE_CLUSTER" placeholder:"NAME"`
	Durability      string        `help:"disk or memory, fixed at the cluster's first start." env:"QUORATE_DURABILITY" enum:"disk,memory" default:"disk" placeholder:"disk"`
	Groups          int           `help:"Raft groups of data, fixed at the cluster's first start; 3 if left out." env:"QUORATE_GROUPS" placeholder:"N"`
	Replicas        int           `help:"Replicas of each group, fixed at the cluster's first start; 3 if left out." env:"QUORATE_REPLICAS" placeholder:"N"`
	HistoryBytes    int           `help:"Bytes of changes that each group keeps for watches, fixed when the group is formed; 16 MiB if left out." env:"QUORATE_HISTORY_BYTES" placeholder:"N"`
	Insecure        bool          `help:"Allow other addresses than loopback: connections are neither encrypted nor authenticated." env:"QUORATE_INSECURE"`
	HTTP            string        `name:"http" help:"Address of /livez, /readyz, /metrics and /debug/pprof; auto: loopback, the port of --listen plus 1000; off: none." env:"QUORATE_HTTP" default:"auto" placeholder:"A|off"`
	DNS             string        `name:"dns" help:"Address, UDP and TCP, to answer DNS at: SRV, A and AAAA of NAME.service.quorate for the instances of services; off: none." env:"QUORATE_DNS" default:"off" placeholder:"A|off"`
	SlowOp          time.Duration `help:"Warn of operations that take longer; 0: of none." env:"QUORATE_SLOW_OP" default:"500ms" placeholder:"D"`
	ShutdownTimeout time.Duration `help:"How long a graceful shutdown may take." env:"QUORATE_SHUTDOWN_TIMEOUT" default:"30s" placeholder:"D"`
	LogLevel        slog.Level    `help:"debug, info, warn or error." env:"QUORATE_LOG_LEVEL" default:"info" placeholder:"L"`
	LogFormat       string        `help:"text or json." env:"QUORATE_LOG_FORMAT" enum:"text,json" default:"text" placeholder:"F"`
	Config          string        `help:"YAML file with any of these settings, under the names of the flags. Flags count for more, then the environment, then the file." env:"QUORATE_CONFIG" placeholder:"F"`
	PrintConfig     bool          `help:"Print the configuration in force, with the source of each value, and exit."`
	Check           bool          `help:"Check configuration, data directory and addresses, print all that is wrong, and exit. Nothing is started."`

	EndWithStdin bool `hidden:"" help:"Exit when stdin closes: for members that must not outlive who started them."`

	settings *settings // where values that are not on the command line are from
}

// Help is the long help of the command.
func (StartCommand) Help() string {
	return `Without flags this is a durable grid of one member on this machine. Every flag can be given as an environment variable, too: QUORATE_DATA_DIR for --data-dir, and in a file: data-dir. The last line it prints says that it is ready. The first SIGINT or SIGTERM shuts it down gracefully, the second one at once; SIGHUP changes nothing.

With --durability memory nothing is written to disk: what is acknowledged is in the memory of a majority, and a member that is started again is a new, empty one.

  quorate start
  quorate start --name n1 --listen 10.0.0.1:7170 --insecure --bootstrap-expect 3 --join 10.0.0.2:7170,10.0.0.3:7170
  quorate start --config /etc/quorate.yaml --check`
}

// config returns what the flags say.
func (cmd *StartCommand) config(logs io.Writer) grid.Config {
	options := &slog.HandlerOptions{Level: cmd.LogLevel}
	var handler slog.Handler = slog.NewTextHandler(logs, options)
	if cmd.LogFormat == "json" {
		handler = slog.NewJSONHandler(logs, options)
	}
	dir := cmd.DataDir
	if dir == "" && cmd.Durability == string(grid.Disk) {
		dir = "quorate-data"
	}
	return grid.Config{
		Name: cmd.Name, DataDir: dir, Listen: cmd.Listen, Advertise: cmd.Advertise, Join: cmd.Join,
		BootstrapExpect: cmd.BootstrapExpect, Cluster: cmd.Cluster, Durability: grid.Durability(cmd.Durability),
		Groups: cmd.Groups, Replicas: cmd.Replicas, HistoryBytes: cmd.HistoryBytes, Insecure: cmd.Insecure, ShutdownTimeout: cmd.ShutdownTimeout,
		HTTP: cmd.HTTP, DNS: cmd.DNS, SlowOp: cmd.SlowOp, Logger: slog.New(handler),
	}
}

// Run runs the command.
func (cmd *StartCommand) Run(ctx context.Context, parsed *kong.Context, a *cli.App) (err error) {
	cfg := cmd.config(a.Stderr)
	for _, v := range UnknownVariables(os.Environ()) {
		cfg.Logger.Warn("unknown environment variable is ignored", "variable", v.Name, "nearest", v.Near)
	}
	if cmd.PrintConfig {
		if err := cmd.printConfig(parsed, a); err != nil {
			return err
		}
	}
	if cmd.Check {
		err = grid.Check(cfg)
	} else {
		err = cfg.Validate()
	}
	switch {
	case err != nil:
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	case cmd.Check:
		a.Note("configuration, data directory and addresses: nothing wrong")
		return nil
	case cmd.PrintConfig:
		return nil
	}
	defer ignoreHangups(cfg.Logger)()
	cfg.MemoryLimit = TuneMemory(ctx)
	if cmd.EndWithStdin {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() {
			_, _ = io.Copy(io.Discard, a.Stdin)
			cancel()
		}()
	}
	// The engine's log store logs its end there.
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn).Writer())
	m, err := grid.Start(ctx, cfg)
	if err != nil {
		return err
	}
	manager := newNotifier()
	// The manager is not made to wait until the grid serves: the members of a new
	// one may be started one after the other.
	manager.notify("READY=1", "STATUS=not serving yet")
	defer func() {
		manager.notify("STOPPING=1", "STATUS=ending")
		cfg.Logger.Info("shutting down", "member", cfg.EffectiveName(), "within", cmd.ShutdownTimeout)
		if closing := closeWithin(m, cmd.ShutdownTimeout); err == nil {
			err = closing
		}
	}()
	if err := m.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it was shut down before it was ready
		}
		return err
	}
	fmt.Fprintln(a.Stdout, readyLine(m.Status()))
	manager.notify("STATUS=serving")
	<-ctx.Done()
	return nil
}

// ignoreHangups has SIGHUP end nothing, until the function that it returns is
// called: to many services it means to read their configuration again.
func ignoreHangups(logger *slog.Logger) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			logger.Warn("SIGHUP ignored: the configuration is read at the start only")
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
	}
}

// readyLine says what a member that serves has become.
func readyLine(s protocol.Status) string {
	return fmt.Sprintf("ready cluster=%s name=%s address=%s durability=%s members=%d",
		s.ClusterName, s.Name, s.Address, s.Durability, len(s.Members))
}

// CloseGrace is what a member may take beyond its --shutdown-timeout.
const CloseGrace = 5 * time.Second

// closeWithin closes a member, and gives up if that takes too long: the service manager
// would kill the process next, without saying why.
func closeWithin(m *grid.Member, timeout time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- m.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(timeout + CloseGrace):
		return fmt.Errorf("the member did not shut down gracefully within --shutdown-timeout %v", timeout)
	}
}
