package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	var err error
	if part := processPart(os.Args[1:]); part != nil {
		err = part(os.Args[2:])
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		err = compare(ctx, os.Args[1:], os.Stdout)
		stop()
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// processPart returns what a process does that this command starts; nil: it is the one
// that a user has started.
func processPart(args []string) func([]string) error {
	if len(args) == 0 {
		return nil
	}
	return map[string]func([]string) error{etcdMember: runEtcdMember, holder: runHolder}[args[0]]
}

// freeAddresses returns addresses of loopback where nobody listens.
func freeAddresses(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are chosen, so that they differ
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// options are the flags.
type options struct {
	systems, measure                             []string
	inFlight, puts, watchers, sessions, lockedOf []int
	rounds, clients, stalled                     int
	load                                         load
	json                                         bool
}

const defaultTTL = 10 * time.Second

func parse(args []string) (options, error) {
	o := options{load: load{warmup: time.Second}}
	set := flag.NewFlagSet("compare", flag.ContinueOnError)
	names := set.String("systems", "quorate,etcd", "systems to measure: "+strings.Join(slices.Sorted(maps.Keys(systems)), ", "))
	measure := set.String("measure", "load", "what to measure: "+strings.Join(measures, ", "))
	inFlight := set.String("in-flight", "1,64,256", "load: operations in flight, a run each")
	puts := set.String("puts", "50", "load: how many of a hundred operations are puts, a run each")
	watchers := set.String("watchers", "1,100,10000", "watch, events: watchers of one key, a run each")
	sessions := set.String("sessions", "1,8,64", "lock, handover: clients with a session each, a run each")
	lockedOf := set.String("locks", "1,1000", "lock: locks to choose from, a run each")
	set.IntVar(&o.rounds, "rounds", 5, "how often each run is repeated; the systems take turns")
	set.IntVar(&o.clients, "clients", 4, "load, watch, events: clients, each with connections of its own")
	set.IntVar(&o.stalled, "stalled", 1000, "stalled: watchers that stop to read")
	set.IntVar(&o.load.keys, "keys", 10_000, "load: keys")
	set.IntVar(&o.load.valueSize, "value-size", 100, "bytes of a value")
	set.DurationVar(&o.load.duration, "duration", 5*time.Second, "how long each run measures, after a second of warm-up")
	set.DurationVar(&o.load.ttl, "ttl", defaultTTL, "TTL of sessions, in whole seconds")
	set.Uint64Var(&o.load.seed, "seed", 1, "seed of the random choices")
	set.BoolVar(&o.json, "json", false, "print one object a run")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("there are no arguments, only flags: %q", set.Args())
	}
	o.systems, o.measure = strings.Split(*names, ","), strings.Split(*measure, ",")
	for _, name := range o.systems {
		if systems[name] == nil {
			return o, fmt.Errorf("there is no system %q", name)
		}
	}
	for _, name := range o.measure {
		if !slices.Contains(measures, name) {
			return o, fmt.Errorf("%q cannot be measured, but %s", name, strings.Join(measures, ", "))
		}
	}
	for _, list := range []struct {
		of          *[]int
		flag, text  string
		least, most int
	}{
		{&o.inFlight, "in-flight", *inFlight, 1, 1 << 16},
		{&o.puts, "puts", *puts, 0, 100},
		{&o.watchers, "watchers", *watchers, 1, 1 << 17},
		{&o.sessions, "sessions", *sessions, 1, 1 << 10},
		{&o.lockedOf, "locks", *lockedOf, 1, 1 << 30},
	} {
		var err error
		if *list.of, err = numbers(list.flag, list.text, list.least, list.most); err != nil {
			return o, err
		}
	}
	if o.rounds < 1 || o.clients < 1 || o.stalled < 1 || o.load.keys < 1 || o.load.valueSize < 0 || o.load.duration <= 0 {
		return o, errors.New("rounds, clients, stalled, keys and duration must be positive")
	}
	if o.load.ttl < time.Second || o.load.ttl%time.Second != 0 {
		return o, errors.New("the TTL must be whole seconds, since it is with etcd")
	}
	return o, nil
}

func numbers(flag, list string, least, most int) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return nil, fmt.Errorf("-%s: %q is no number from %d to %d", flag, text, least, most)
		}
		all = append(all, n)
	}
	return all, nil
}

// compare starts the systems, and measures them in turn.
func compare(ctx context.Context, args []string, w io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "quorate-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all := map[string]*measured{}
	for _, name := range o.systems {
		m := &measured{name: name, system: systems[name](), ttl: o.load.ttl}
		defer m.stop()
		fmt.Fprintf(os.Stderr, "start    %s\n", name)
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		if err := m.system.start(ctx, at); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all[name] = m
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if !o.json {
		defer out.Flush() // also what was measured before an error
		fmt.Fprintln(out, "measured\tsystem\ta second\tratio\tof rounds\tp50\tratio\tp99\tratio\terrors\t")
	}
	for _, r := range o.runs() {
		done := map[string][]figures{}
		for round := range o.rounds {
			for i := range o.systems { // whoever was first is last in the next round
				name := o.systems[(i+round)%len(o.systems)]
				clients, err := all[name].clients(ctx, r.clients)
				if err != nil {
					return err
				}
				f := r.measure(ctx, all[name], clients)
				if ctx.Err() != nil {
					return errors.New("interrupted")
				}
				done[name] = append(done[name], f)
				fmt.Fprintf(os.Stderr, "measure  %s, round %d of %d: %s %.0f a second, p50 %v, p99 %v\n", r.what, round+1, o.rounds, name, f.PerSecond, f.P50, f.P99)
				if o.json {
					line, err := json.Marshal(struct {
						System   string `json:"system"`
						Measured string `json:"measured"`
						Round    int    `json:"round"`
						figures
					}{name, r.what, round + 1, f})
					if err != nil {
						return err
					}
					fmt.Fprintln(w, string(line))
				}
			}
		}
		if !o.json {
			table(out, r.what, o.systems, done)
		}
	}
	return nil
}

// table prints the medians of the systems, and of the ratios of the first to each.
func table(out *tabwriter.Writer, what string, names []string, done map[string][]figures) {
	for _, name := range names {
		first, rs := done[names[0]], done[name]
		ratios := func(of func(figures) float64) []float64 {
			var all []float64
			for i, f := range rs {
				all = append(all, of(first[i])/max(of(f), 1e-9))
			}
			slices.Sort(all)
			return all
		}
		perSecond := func(f figures) float64 { return f.PerSecond }
		p50 := func(f figures) float64 { return float64(f.P50) }
		p99 := func(f figures) float64 { return float64(f.P99) }
		errs := 0
		for _, f := range rs {
			if errs += f.Errors; f.First != "" {
				fmt.Fprintf(os.Stderr, "%s: %s: %s\n", what, name, f.First)
			}
		}
		rates := ratios(perSecond)
		fmt.Fprintf(out, "%s\t%s\t%.0f\t%.2f\t%.2f to %.2f\t%v\t%.2f\t%v\t%.2f\t%d\t\n", what, name,
			median(rs, perSecond), rates[len(rates)/2], rates[0], rates[len(rates)-1],
			time.Duration(median(rs, p50)).Round(10*time.Microsecond), ratios(p50)[len(rs)/2],
			time.Duration(median(rs, p99)).Round(10*time.Microsecond), ratios(p99)[len(rs)/2], errs)
	}
}

func median(rs []figures, of func(figures) float64) float64 {
	var all []float64
	for _, f := range rs {
		all = append(all, of(f))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
