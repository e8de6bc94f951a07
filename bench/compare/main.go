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
	if len(os.Args) > 1 && os.Args[1] == etcdMember {
		err = runEtcdMember(os.Args[2:])
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
	systems  []string
	inFlight []int
	puts     []int
	rounds   int
	clients  int
	load     load
	json     bool
}

func parse(args []string) (options, error) {
	o := options{load: load{warmup: time.Second}}
	set := flag.NewFlagSet("compare", flag.ContinueOnError)
	names := set.String("systems", "quorate,etcd", "systems to measure: "+strings.Join(slices.Sorted(maps.Keys(systems)), ", "))
	inFlight := set.String("in-flight", "1,64,256", "operations in flight, a run each")
	puts := set.String("puts", "50", "how many of a hundred operations are puts, a run each")
	set.IntVar(&o.rounds, "rounds", 5, "how often each run is repeated; the systems take turns")
	set.IntVar(&o.clients, "clients", 4, "clients, each with connections of its own")
	set.IntVar(&o.load.keys, "keys", 10_000, "keys")
	set.IntVar(&o.load.valueSize, "value-size", 100, "bytes of a value")
	set.DurationVar(&o.load.duration, "duration", 5*time.Second, "how long each run measures, after a second of warm-up")
	set.Uint64Var(&o.load.seed, "seed", 1, "seed of the random choices")
	set.BoolVar(&o.json, "json", false, "print one object a run")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("there are no arguments, only flags: %q", set.Args())
	}
	for name := range strings.SplitSeq(*names, ",") {
		if systems[name] == nil {
			return o, fmt.Errorf("there is no system %q", name)
		}
		o.systems = append(o.systems, name)
	}
	var err error
	if o.inFlight, err = numbers("in-flight", *inFlight, 1, 1<<16); err != nil {
		return o, err
	}
	if o.puts, err = numbers("puts", *puts, 0, 100); err != nil {
		return o, err
	}
	if o.rounds < 1 || o.clients < 1 || o.load.keys < 1 || o.load.valueSize < 0 || o.load.duration <= 0 {
		return o, errors.New("rounds, clients, keys and duration must be positive")
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
	clients := map[string][]conn{}
	for _, name := range o.systems {
		s := systems[name]()
		defer s.stop()
		fmt.Fprintf(os.Stderr, "start    %s\n", name)
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		if err := s.start(ctx, at); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for range o.clients {
			c, err := s.open(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			defer c.close()
			clients[name] = append(clients[name], c)
		}
		fmt.Fprintf(os.Stderr, "load     %s with %d keys\n", name, o.load.keys)
		if err := o.load.fill(ctx, clients[name][0]); err != nil {
			return fmt.Errorf("%s: load: %w", name, err)
		}
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if !o.json {
		defer out.Flush() // also what was measured before an error
		fmt.Fprintln(out, "puts\tin flight\tsystem\tops/s\tp50\tp99\terrors\tratio\tof rounds\t")
	}
	for _, puts := range o.puts {
		for _, inFlight := range o.inFlight {
			l := o.load
			l.puts, l.inFlight = puts, inFlight
			runs := map[string][]figures{}
			for round := range o.rounds {
				for i := range o.systems { // whoever was first is last in the next round
					name := o.systems[(i+round)%len(o.systems)]
					f := l.run(ctx, clients[name])
					if ctx.Err() != nil {
						return errors.New("interrupted")
					}
					runs[name] = append(runs[name], f)
					fmt.Fprintf(os.Stderr, "measure  %d %% puts, %d in flight, round %d of %d: %s %.0f ops/s\n", puts, inFlight, round+1, o.rounds, name, f.PerSecond)
					if o.json {
						line, err := json.Marshal(struct {
							System   string `json:"system"`
							Puts     int    `json:"puts"`
							InFlight int    `json:"in_flight"`
							Round    int    `json:"round"`
							figures
						}{name, puts, inFlight, round + 1, f})
						if err != nil {
							return err
						}
						fmt.Fprintln(w, string(line))
					}
				}
			}
			if !o.json {
				table(out, l, o.systems, runs)
			}
		}
	}
	return nil
}

// table prints the medians of the systems, and of the ratio of the first to each.
func table(out *tabwriter.Writer, l load, names []string, runs map[string][]figures) {
	for _, name := range names {
		rs := runs[name]
		var ratios []float64
		errs := 0
		for i, f := range rs {
			ratios = append(ratios, runs[names[0]][i].PerSecond/max(f.PerSecond, 1))
			errs += f.Errors
		}
		slices.Sort(ratios)
		fmt.Fprintf(out, "%d %%\t%d\t%s\t%.0f\t%v\t%v\t%d\t%.2f\t%.2f to %.2f\t\n", l.puts, l.inFlight, name,
			median(rs, func(f figures) float64 { return f.PerSecond }),
			time.Duration(median(rs, func(f figures) float64 { return float64(f.P50) })).Round(10*time.Microsecond),
			time.Duration(median(rs, func(f figures) float64 { return float64(f.P99) })).Round(10*time.Microsecond),
			errs, ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
		for _, f := range rs {
			if f.First != "" {
				fmt.Fprintf(os.Stderr, "%s: %s\n", name, f.First)
				break
			}
		}
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
