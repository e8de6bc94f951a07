package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/verify/nemesis"
	"github.com/quorate/quorate/verify/network"
	"github.com/quorate/quorate/verify/workloads"
)

type verifyGap struct {
	verifyGrid
	Faults []string `help:"What interrupts: kill, term, pause, one-way, deaf, cut-off, kill-all; all of them if left out." placeholder:"LIST"`
	Rounds int      `help:"How often; of several, kill so often and each of the others a fifth." default:"20" placeholder:"N"`
	Seed   uint64   `help:"Seed of the random choices." placeholder:"S"`
	Output string   `short:"o" help:"Form of the output: text, or json for one object a line." enum:"text,json" default:"text" placeholder:"FORM"`
}

// Help is the long help of the command.
func (verifyGap) Help() string {
	return `For each group that the victim leads a writer adds to a counter, one add at a time. FAILED is how many of these ended with an error. The gap is the longest time between two acknowledgements. NO LEADER is how much of it passed until the member that acknowledged led; AFTER is the rest, which is the client's. AGAIN counts elections beyond one. TRANSFERS are the leads that were handed over, of the victims and to spread leaders, and how long each held its group's writes. Before each round all members serve and leaders are spread. SIGKILL is as near as processes come to a power cut: the kernel keeps what was written.

  quorate verify gap --rounds 100`
}

// gapResult is one line of the result.
type gapResult struct {
	Fault      string `json:"fault"`
	Durability string `json:"durability"`
	Rounds     int    `json:"rounds"`
	Failed     int64  `json:"failed"` // writes that ended with an error
	quantiles         // of the gaps of the groups that the victims led
	// The parts of those gaps, as far as the members' logs have them.
	NoLeader  quantiles `json:"no_leader"`
	After     quantiles `json:"after"`
	Again     int       `json:"elected_again"`
	Transfers quantiles `json:"transfers"`
}

// Validate checks what the grammar cannot.
func (cmd *verifyGap) Validate() error {
	if cmd.Rounds < 1 || cmd.Members < 1 {
		return errors.New("--rounds and --members: want at least 1")
	}
	_, err := cmd.chosen()
	return err
}

func (cmd *verifyGap) chosen() ([]nemesis.Interruption, error) {
	var chosen []nemesis.Interruption
	left := slices.Clone(cmd.Faults)
	for _, in := range nemesis.Interruptions() {
		i := slices.Index(left, in.Name)
		if i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
		if i >= 0 || len(cmd.Faults) == 0 {
			chosen = append(chosen, in)
		}
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("--faults: nothing is called %q", left[0])
	}
	return chosen, nil
}

// Run runs the command.
func (cmd *verifyGap) Run(ctx context.Context, a *cli.App) error {
	if cmd.Seed == 0 {
		cmd.Seed = rand.Uint64() >> 32
	}
	chosen, err := cmd.chosen()
	if err != nil {
		return err
	}
	dir, remove, err := cmd.makeDir()
	if err != nil {
		return err
	}
	defer remove()
	g, err := cmd.start(ctx, dir)
	if ctx.Err() != nil {
		if g != nil {
			g.Close()
		}
		return interrupted("interrupted before anything was measured")
	}
	if err != nil {
		return err
	}
	defer g.Close()
	m := &gapMeter{grid: g, rng: rand.New(rand.NewPCG(cmd.Seed, 0))}
	defer m.close()
	if err := m.connect(ctx, cmd.Members); err != nil {
		return err
	}
	a.Note("measuring gaps of %d members, durability %s, seed %d", cmd.Members, cmd.Durability, cmd.Seed)
	var results []gapResult
	for _, in := range chosen {
		rounds := cmd.Rounds
		if in.Name != "kill" && len(chosen) > 1 {
			rounds = max(1, rounds/5)
		}
		r, err := m.measure(ctx, a, in, rounds)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			a.Note("quorate: %s: %v", in.Name, err)
			continue
		}
		r.Durability = cmd.Durability
		results = append(results, r)
		if a.JSON {
			if err := cli.JsonEncoder(a.Stdout).Encode(r); err != nil {
				return err
			}
		}
	}
	if !a.JSON {
		t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "INTERRUPTION\tDURABILITY\tROUNDS\tFAILED\tGAPS\tP50\tP99\tMAX\tNO LEADER P50\tP99\tAFTER P50\tP99\tAGAIN\tTRANSFERS\tP50\tP99\tMAX")
		for _, r := range results {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%.2f s\t%.2f s\t%.2f s\t%.2f s\t%.2f s\t%.0f ms\t%.0f ms\t%d\t%d\t%.0f ms\t%.0f ms\t%.0f ms\n",
				r.Fault, r.Durability, r.Rounds, r.Failed, r.N, r.P50, r.P99, r.Max, r.NoLeader.P50, r.NoLeader.P99, 1e3*r.After.P50, 1e3*r.After.P99, r.Again,
				r.Transfers.N, 1e3*r.Transfers.P50, 1e3*r.Transfers.P99, 1e3*r.Transfers.Max)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return interrupted("interrupted before all was measured")
	}
	return nil
}

// gapMeter measures the gaps of one grid.
type gapMeter struct {
	grid    *nemesis.Grid
	rng     *rand.Rand
	clients []*client.Client
	probes  *workloads.Probes

	mu      sync.Mutex // guards what follows
	struck  time.Time  // when the interruption began
	longest map[protocol.GroupID]interval
}

// interval is a gap: when it began, after the interruption, and how long it
// took.
type interval struct{ after, took time.Duration }

func (i interval) String() string {
	return fmt.Sprintf("%v from %v", i.took.Round(time.Millisecond), i.after.Round(time.Millisecond))
}

func (m *gapMeter) connect(ctx context.Context, n int) error {
	for range n {
		cutter := network.NewCutter(m.grid.Dial)
		c, err := client.Dial(ctx, m.grid.Seeds(), client.WithName("verify gap"), client.WithDialer(cutter.Dial))
		if err != nil {
			return err
		}
		m.clients = append(m.clients, c)
	}
	m.probes = workloads.StartProbes("gap", m.clients, workloads.Groups(m.clients[0]), func(gap workloads.Gap) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.longest != nil && gap.To.Sub(gap.From) > m.longest[gap.Group].took {
			m.longest[gap.Group] = interval{gap.From.Sub(m.struck), gap.To.Sub(gap.From)}
		}
	})
	return nil
}

func (m *gapMeter) close() {
	if m.probes != nil {
		m.probes.Stop()
	}
	for _, c := range m.clients {
		_ = c.Close()
	}
}

// measure interrupts a number of times.
func (m *gapMeter) measure(ctx context.Context, a *cli.App, in nemesis.Interruption, rounds int) (gapResult, error) {
	r := gapResult{Fault: in.Name}
	before := m.probes.Failed()
	live := cli.IsTerminal(a.Stderr)
	for round := range rounds {
		gaps, err := m.round(ctx, in)
		if err != nil {
			return r, err
		}
		leads, err := m.grid.Leads(m.struck)
		if err != nil {
			return r, err
		}
		r.add(gaps, leads, m.struck)
		r.Rounds++
		r.Failed = m.probes.Failed() - before
		a.ProgressLine(live, fmt.Sprintf("%s: round %d of %d  %v", in.Name, round+1, rounds, slices.Collect(maps.Values(gaps))))
	}
	if live {
		fmt.Fprintln(a.Stderr)
	}
	for _, q := range []*quantiles{&r.quantiles, &r.NoLeader, &r.After, &r.Transfers} {
		q.compute()
	}
	return r, nil
}

// round interrupts once, and returns the gaps of the groups that were led by
// the victim.
func (m *gapMeter) round(ctx context.Context, in nemesis.Interruption) (map[protocol.GroupID]interval, error) {
	if err := m.grid.AwaitSpread(ctx); err != nil {
		return nil, err
	}
	// Whatever moved leaders has come to rest, and sessions are attached.
	if err := contexts.Sleep(ctx, time.Second+time.Duration(m.rng.IntN(500))*time.Millisecond); err != nil {
		return nil, err
	}
	led := m.grid.Leaders(ctx)
	var victim *nemesis.Member
	for _, i := range m.rng.Perm(len(led)) {
		if len(nemesis.Data(led[i])) > 0 {
			victim = m.grid.Members()[i]
		}
	}
	if victim == nil {
		return nil, errors.New("nobody leads a group")
	}
	hit := nemesis.Data(led[victim.Index])
	if in.All {
		hit = nemesis.Data(slices.Concat(led...))
	}
	m.mu.Lock()
	m.longest, m.struck = map[protocol.GroupID]interval{}, time.Now()
	m.mu.Unlock()
	end, err := in.Do(ctx, m.grid, victim)
	if err == nil {
		err = contexts.Sleep(ctx, in.Lasts)
	}
	if end != nil {
		err = errors.Join(err, end())
	}
	if err == nil {
		err = m.grid.AwaitFull(ctx)
	}
	if err == nil {
		err = m.grid.AwaitSpread(ctx)
	}
	if err != nil {
		return nil, err
	}
	// The gap of a group is known once it has acknowledged again.
	for over := time.Now(); slices.ContainsFunc(hit, func(g protocol.GroupID) bool { return !m.probes.AckedSince(g, over) }); {
		if err := contexts.Sleep(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	gaps := map[protocol.GroupID]interval{}
	for _, id := range hit {
		gaps[id] = m.longest[id]
	}
	m.longest = nil
	return gaps, nil
}
