package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/bench"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/protocol"
)

type benchHostile struct {
	Duration   time.Duration `default:"15s" help:"How long the good clients are measured, without and with the others." placeholder:"D"`
	Idle       int           `default:"10000" help:"Connections that do nothing, of all members together." placeholder:"N"`
	Hostile    int           `default:"1000" help:"Hostile connections, of all members together." placeholder:"N"`
	Again      time.Duration `default:"1s" help:"How soon one that was closed reconnects." placeholder:"D"`
	InFlight   int           `default:"64" help:"Operations in flight of the good clients." placeholder:"N"`
	Durability string        `default:"disk" enum:"disk,memory" help:"disk or memory." placeholder:"disk"`
	Limit      int64         `default:"1024" help:"MiB of memory that each member has (GOMEMLIMIT)." placeholder:"N"`
	Against    []string      `hidden:"" help:"Only make the connections, to these members, until stdin ends."`
}

// Help is the long help of the command.
func (benchHostile) Help() string {
	return `Starts three member processes and measures good clients alone, before and after, and beside connections that do nothing after their handshake and hostile ones: half a frame, a byte a second, requests whose replies are never read, random bytes. Hostile ones that are closed come again. They are made by a process of their own on the same machine, whose processor time is told beside the members': an attacker elsewhere would not take it from them. Prints what the good ones keep, of all and of what that process leaves them, what memory was resident, and whether goroutines and descriptors of the members are back afterwards. Exit status 1 where they keep less than 80 % of what is left, or something is left behind.`
}

const (
	hostileTarget = 0.8
	hostileGone   = time.Minute // for what they left to go
)

// hostility is what runs beside the good clients.
type hostility struct {
	addresses []string
	again     time.Duration
	open, all atomic.Int64 // connections
	refused   atomic.Int64
	workers   sync.WaitGroup
}

// Run runs the command.
func (cmd *benchHostile) Run(ctx context.Context, a *cli.App) (err error) {
	if len(cmd.Against) > 0 {
		return cmd.attack(ctx, a)
	}
	dir, err := os.MkdirTemp("", "quorate-hostile-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	g, err := procgrid.NewLimited(dir, cmd.Durability, cmd.Limit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Stop(30*time.Second)) }()
	c, err := g.StartAll(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	without, err := cmd.measure(ctx, g, c, nil)
	if err != nil {
		return err
	}
	before := cmd.state(ctx, g)
	a.Note("alone: %.0f ops/s; goroutines and descriptors %v", without.rate, before)
	watch := watchMembers(ctx, g)
	var told report
	enemy, err := procgrid.StartProcess(procgrid.Spec{
		Command: []string{
			g.Binary, "bench", "hostile", "--against", strings.Join(g.Addresses(), ","),
			"--idle", fmt.Sprint(cmd.Idle), "--hostile", fmt.Sprint(cmd.Hostile), "--again", cmd.Again.String(),
		},
		Stdout: &told, Stderr: a.Stderr,
	})
	if err != nil {
		return err
	}
	defer enemy.Kill()
	for until := time.Now().Add(time.Minute); told.read()[0] < cmd.Idle && time.Now().Before(until); {
		if err := contexts.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	a.Note("open, made in all, not made: %v", told.read())
	with, err := cmd.measure(ctx, g, c, enemy)
	if err != nil {
		return err
	}
	made := told.read()
	enemy.Kill()
	after, later, err := cmd.cleared(ctx, g, before)
	if err != nil {
		return err
	}
	again, err := cmd.measure(ctx, g, c, nil)
	if err != nil {
		return err
	}
	watch.close()
	ratio := with.rate / (without.rate + again.rate) * 2
	left := 1 - with.enemy/float64(runtime.NumCPU())
	cmd.print(a.Stdout, without, with, again, made, ratio, left)
	fmt.Fprintf(a.Stdout, "resident   at most %s\n", watch.resident())
	fmt.Fprintf(a.Stdout, "goroutines and descriptors by member: %v before, %v after (%v later)\n", before, after, later.Round(time.Second))
	var wrong []string
	for _, d := range watch.dead() {
		wrong = append(wrong, "process ended: "+d)
	}
	if ratio/left < hostileTarget {
		wrong = append(wrong, fmt.Sprintf("good clients keep %.0f %% of what is left", 100*ratio/left))
	}
	if !after.near(before) {
		wrong = append(wrong, "goroutines or descriptors are left behind")
	}
	if len(wrong) > 0 {
		return cli.No(errors.New(strings.Join(wrong, "; ")))
	}
	return nil
}

// cleared waits, for a while, until members have no more goroutines and descriptors
// than before, and returns what they have and how long it took.
func (cmd *benchHostile) cleared(ctx context.Context, g *procgrid.Grid, before left) (left, time.Duration, error) {
	began := time.Now()
	after := cmd.state(ctx, g)
	for !after.near(before) && time.Since(began) < hostileGone {
		if err := contexts.Sleep(ctx, time.Second); err != nil {
			return nil, 0, err
		}
		after = cmd.state(ctx, g)
	}
	return after, time.Since(began), nil
}

// print prints what was measured: ratio is the throughput kept, left the share of the
// processors that the hostile side leaves.
func (cmd *benchHostile) print(w io.Writer, without, with, again hostileRun, made [3]int, ratio, left float64) {
	fmt.Fprintf(w, "three members, durability %s, GOMEMLIMIT=%dMiB each; workload a, %d in flight; %d idle and %d hostile connections asked for, again %v after they were closed\n\n",
		cmd.Durability, cmd.Limit, cmd.InFlight, cmd.Idle, cmd.Hostile, cmd.Again)
	fmt.Fprintf(w, "open       %d in the end; %d made in all, %d could not be\n", made[0], made[1], made[2])
	fmt.Fprintf(w, "throughput %.0f ops/s alone, %.0f beside them, %.0f alone afterwards: %.0f %% of the mean alone\n",
		without.rate, with.rate, again.rate, 100*ratio)
	fmt.Fprintf(w, "processor  alone members %.2f and good clients %.2f CPUs, beside them %.2f and %.2f; the hostile side itself %.2f of %d CPUs\n",
		without.members, without.load, with.members, with.load, with.enemy, runtime.NumCPU())
	fmt.Fprintf(w, "kept       %.0f %% of the throughput for each CPU that the hostile side leaves (aim %.0f %%)\n", 100*ratio/left, 100*hostileTarget)
}

// attack makes the connections until stdin ends, and tells how many are open,
// were made and could not be made.
func (cmd *benchHostile) attack(ctx context.Context, a *cli.App) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	h := &hostility{addresses: cmd.Against, again: cmd.Again}
	for i := range cmd.Idle {
		h.start(ctx, i, idle)
	}
	for i := range cmd.Hostile {
		h.start(ctx, i, hostiles[i%len(hostiles)])
	}
	for contexts.Sleep(ctx, 200*time.Millisecond) == nil {
		fmt.Fprintln(a.Stdout, h.open.Load(), h.all.Load(), h.refused.Load())
	}
	h.workers.Wait()
	return nil
}

// report is the last line of numbers that was written to it.
type report struct {
	mu   sync.Mutex
	last [3]int
}

func (r *report) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var n [3]int
	if _, err := fmt.Sscan(string(p), &n[0], &n[1], &n[2]); err == nil {
		r.last = n
	}
	return len(p), nil
}

func (r *report) read() [3]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// hostileRun is a closed loop of good clients; beside the rate it has how many
// CPUs each side took.
type hostileRun struct {
	rate, members, load, enemy float64
}

func (cmd *benchHostile) measure(ctx context.Context, g *procgrid.Grid, c *client.Client, enemy *procgrid.Process) (hostileRun, error) {
	theirs := func() time.Duration {
		if enemy == nil {
			return 0
		}
		return usageOf(enemy.PID()).CPU
	}
	if enemy == nil { // perhaps the first: the keys are not there yet
		_, _, err := RunBench(ctx, []*client.Client{c}, bench.Config{Workload: "put", InFlight: cmd.InFlight, Duration: time.Millisecond, Warmup: -1})
		if err != nil {
			return hostileRun{}, err
		}
	}
	const warmup = 3 * time.Second
	meter := meterAfter(warmup, func() time.Duration { return membersCPU(g) }, ownCPU, theirs)
	_, m, err := RunBench(ctx, []*client.Client{c}, bench.Config{
		Workload: "a", InFlight: cmd.InFlight, Duration: cmd.Duration, Warmup: warmup, Distribution: bench.Uniform, NoLoad: true,
	})
	if err != nil {
		return hostileRun{}, err
	}
	if m.FirstError != nil {
		return hostileRun{}, fmt.Errorf("a good client had an error: %w", m.FirstError)
	}
	used := meter.stop()
	cpus := func(i int) float64 { return used[i].Seconds() / m.Elapsed.Seconds() }
	return hostileRun{m.OpsPerSecond, cpus(0), cpus(1), cpus(2)}, nil
}

// left is goroutines and descriptors by member.
type left [][2]int

func (cmd *benchHostile) state(ctx context.Context, g *procgrid.Grid) left {
	var all left
	for _, m := range g.Members {
		values, _ := scrape(ctx, m) // what is missing is 0
		all = append(all, [2]int{int(values["go_goroutines"]), usageOf(m.Process.PID()).Descriptors})
	}
	return all
}

// near reports whether no member has noticeably more than it had.
func (l left) near(before left) bool {
	const some = 20
	for i := range l {
		if l[i][0] == 0 || l[i][0] > before[i][0]+some || l[i][1] > before[i][1]+some {
			return false
		}
	}
	return true
}

// start makes connections, one after the other, until ctx ends; do keeps one as
// long as it will.
func (h *hostility) start(ctx context.Context, i int, do func(ctx context.Context, c net.Conn)) {
	address := h.addresses[i%len(h.addresses)]
	h.workers.Go(func() {
		for ctx.Err() == nil {
			d := net.Dialer{Timeout: 10 * time.Second}
			c, err := d.DialContext(ctx, "tcp", address)
			if err != nil {
				h.refused.Add(1)
				_ = contexts.Sleep(ctx, time.Second)
				continue
			}
			h.open.Add(1)
			h.all.Add(1)
			end := context.AfterFunc(ctx, func() { c.Close() })
			do(ctx, c)
			end()
			c.Close()
			h.open.Add(-1)
			_ = contexts.Sleep(ctx, h.again)
		}
	})
}

// hostiles are the ways of the hostile ones.
var hostiles = []func(ctx context.Context, c net.Conn){halfFrame, slow, neverRead, noise}

// greetMember does what a client does first, and returns whether it worked.
func greetMember(c net.Conn) bool {
	hello := protocol.NewHello(protocol.UUID{1}, "")
	b := protocol.AppendPreface(nil, protocol.PurposeClient)
	start := len(b)
	b = append(protocol.BeginFrame(b), protocol.Encode(&hello)...)
	if _, err := c.Write(protocol.EndFrame(b, start)); err != nil {
		return false
	}
	_, err := protocol.NewFrameReader(c, protocol.MaxFrame).Next()
	return err == nil
}

// idle says hello and nothing else.
func idle(_ context.Context, c net.Conn) {
	if greetMember(c) {
		_, _ = io.Copy(io.Discard, c)
	}
}

// halfFrame promises a large frame and sends half of it.
func halfFrame(_ context.Context, c net.Conn) {
	if !greetMember(c) {
		return
	}
	b := protocol.EndFrame(append(protocol.BeginFrame(nil), make([]byte, 1<<20)...), 0)
	_, _ = c.Write(b[:len(b)/2])
	_, _ = io.Copy(io.Discard, c)
}

// slow sends a byte a second, beginning with the preface.
func slow(ctx context.Context, c net.Conn) {
	b := protocol.AppendPreface(nil, protocol.PurposeClient)
	for i := 0; contexts.Sleep(ctx, time.Second) == nil; i++ {
		if _, err := c.Write(b[i%len(b) : i%len(b)+1]); err != nil {
			return
		}
	}
}

// neverRead asks for the table over and over, and reads no answer.
func neverRead(_ context.Context, c net.Conn) {
	if !greetMember(c) {
		return
	}
	q := protocol.Encode(&protocol.TableRequest{Type: protocol.TypeTableRequest})
	var b []byte
	for range 1000 {
		start := len(b)
		b = protocol.EndFrame(append(protocol.BeginFrame(b), q...), start)
	}
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// noise sends random bytes, with and without what a client begins with.
func noise(_ context.Context, c net.Conn) {
	b := make([]byte, 4096)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	if rand.IntN(2) == 0 {
		b = append(protocol.AppendPreface(nil, protocol.PurposeClient), b...)
	}
	if _, err := c.Write(b); err == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}
