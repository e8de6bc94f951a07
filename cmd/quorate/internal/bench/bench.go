package bench

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/quorate/quorate/bench"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

type BenchCommands struct {
	Run      benchRun      `cmd:"" default:"withargs" help:"Measure one workload."`
	Compare  benchCompare  `cmd:"" help:"Compare a local grid of three members with bare dragonboat, in the same run."`
	Takeover benchTakeover `cmd:"" help:"Measure how long until another leads an election whose leader has died, by the TTL of its session."`
	Baseline benchBaseline `cmd:"" hidden:"" help:"Measure bare dragonboat."`
	Full     benchFull     `cmd:"" hidden:"" help:"Fill members that have little memory."`
	Overload benchOverload `cmd:"" hidden:"" help:"Offer more than members can carry out."`
	Recovery benchRecovery `cmd:"" hidden:"" help:"Measure how long until the grid is fully replicated again after a kill."`
	Hostile  benchHostile  `cmd:"" hidden:"" help:"Measure clients beside idle and hostile connections."`
}

type benchRun struct {
	cli.Connection
	Workload  string        `help:"What to do: ${enum}." enum:"a,b,c,f,put,counter,queue,semaphore,latch,barrier,lock,rwlock,election,ref,id,rate,service,txn,putall,near" default:"a" placeholder:"W"`
	InFlight  int           `help:"Operations in flight." default:"64" placeholder:"N"`
	Duration  time.Duration `help:"How long to measure." default:"10s" placeholder:"D"`
	Warmup    time.Duration `help:"How long to run before that." default:"3s" placeholder:"D"`
	Keys      int           `help:"Keys of the map (10000), or counters, queues, semaphores or locks (16)." placeholder:"N"`
	ValueSize int           `help:"Bytes of a value." default:"100" placeholder:"B"`
	Rate      float64       `help:"Start R operations a second, whatever the grid does, and count latency from when they were due." placeholder:"R"`
	Dist      string        `help:"How keys are chosen: ${enum}." enum:"zipfian,uniform" default:"zipfian" placeholder:"DIST"`
	Clients   int           `help:"Clients, with connections of their own." default:"1" placeholder:"N"`
	Seed      uint64        `help:"Seed of the random choices." placeholder:"S"`
	NoLoad    bool          `help:"The keys are there from an earlier run."`
	Dev       bool          `help:"Start a grid of three members in this process, in memory."`
}

// Help is the long help of the command.
func (benchRun) Help() string {
	return `Workloads: a 50 % put, 50 % get; b 5 % put; c gets only; f 50 % read-modify-write, 50 % get; put; counter: add; queue: put and take; semaphore: acquire and release; lock: lock and unlock, of one lock with --keys 1; election: lead and resign; txn: three puts in a transaction; putall: the same three in one PutAll; latch, barrier, rwlock, ref, id, rate and service: what they are for; near: 99 % get from a near cache, 1 % put.

  quorate bench --dev
  quorate bench --workload b --in-flight 256 --keys 1000000 -o json
  quorate bench --workload counter --rate 5000 --duration 1m`
}

// config returns what the flags say.
func (cmd *benchRun) config(a *cli.App) bench.Config {
	c := bench.Config{
		Workload: cmd.Workload, InFlight: cmd.InFlight, Duration: cmd.Duration, Warmup: cmd.Warmup, Keys: cmd.Keys,
		ValueSize: cmd.ValueSize, Rate: cmd.Rate, Distribution: bench.Distribution(cmd.Dist), Seed: cmd.Seed, NoLoad: cmd.NoLoad,
		Progress: a.BenchProgress(),
	}
	if cmd.Warmup == 0 {
		c.Warmup = -1
	}
	return c
}

// Validate checks what the grammar cannot.
func (cmd *benchRun) Validate() error {
	if cmd.Clients < 1 {
		return fmt.Errorf("--clients=%d: want at least 1", cmd.Clients)
	}
	if cmd.Duration <= 0 || cmd.InFlight < 1 || cmd.ValueSize < 1 {
		return fmt.Errorf("--duration, --in-flight and --value-size must be positive")
	}
	return cmd.config(&cli.App{Stderr: io.Discard}).Validate()
}

// Run runs the command.
func (cmd *benchRun) Run(ctx context.Context, a *cli.App) error {
	if cmd.Dev {
		g, err := member.StartDev(ctx, member.DevConfig{Members: 3, Listen: "127.0.0.1:0"})
		if err != nil {
			return err
		}
		defer g.Close()
		cmd.Endpoints = g.Addresses()
	}
	var clients []*client.Client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for range cmd.Clients {
		c, err := cmd.Dial(ctx)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	r, m, err := RunBench(ctx, clients, cmd.config(a))
	if err != nil {
		return err
	}
	if m.FirstError != nil {
		a.Note("quorate: an error of the run: %v", m.FirstError)
	}
	if a.JSON {
		return r.WriteJSON(a.Stdout)
	}
	return r.WriteTable(a.Stdout)
}

// RunBench measures with clients of one grid.
func RunBench(ctx context.Context, clients []*client.Client, c bench.Config) (*bench.Result, *bench.Measurement, error) {
	var invokers []structures.Invoker
	for _, c := range clients {
		invokers = append(invokers, c)
	}
	m, err := bench.Run(ctx, invokers, c)
	if err != nil {
		return nil, nil, err
	}
	t := clients[0].Table()
	g := bench.Grid{
		Cluster: clients[0].Cluster().String(), Durability: clients[0].Durability(), Members: len(t.Members),
		Partitions: len(t.Partitions), Clients: len(clients),
	}
	for _, group := range t.Groups {
		if group.ID != protocol.SystemGroup {
			g.Groups++
		}
	}
	return m.Result(g), m, nil
}
