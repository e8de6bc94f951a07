package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dqueue"
)

// schedule has three processes elect a leader, kills it when it has done half of the jobs,
// and checks what it and its successor have recorded. It returns how much is wrong.
func (d *demo) schedule(ctx context.Context) (wrong int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // kills what still runs
	d.say("")
	d.say("%d scheduler processes elect a leader, which does %d jobs; a session has a TTL of %v", demoSchedulers, demoJobs, demoSession)
	schedulers, turns, err := d.startSchedulers(ctx)
	if err != nil {
		return 0, err
	}
	var seen demoTurns
	for t := range turns {
		if seen.add(t, time.Now()) {
			d.say("leader        scheduler %s, with token %d", t.Name, t.Token)
		}
		if t.Job >= demoJobs/2 && seen.killed.IsZero() {
			seen.killed, seen.victim = time.Now(), t
			_ = schedulers[t.Name].process.Signal((*os.Process).Kill) // unless it has ended
			d.say("SIGKILL       scheduler %s, which leads and has done %d jobs", t.Name, t.Job)
		}
	}
	for name, s := range schedulers {
		if err := s.process.Wait(time.Minute); err != nil && name != seen.victim.Name {
			return 0, errors.Join(contexts.Err(ctx), fmt.Errorf("scheduler %s: %w\n%s", name, err, strings.TrimSpace(s.stderr.String())))
		}
	}
	results, err := dqueue.New[demoResult](d.client, demoResults).Drain(ctx, 2*demoJobs)
	if err != nil {
		return 0, fmt.Errorf("read the results: %w", err)
	}
	if took, ok := seen.takeOver(); ok {
		d.say("take-over     %v after the leader was killed", took.Round(time.Millisecond))
	}
	wrongs := append(seen.wrong(), wrongResults(results)...)
	if len(wrongs) == 0 {
		d.say("jobs          %d recorded, none twice; %d of them by the leader that was killed", len(results), recordedBy(results, seen.victim.Token))
	}
	for _, w := range wrongs[:min(len(wrongs), 10)] {
		d.say("WRONG         %s", w)
	}
	return len(wrongs), nil
}

// schedulerProcess is a scheduler as the demo sees it.
type schedulerProcess struct {
	process *procgrid.Process
	stderr  strings.Builder
}

// startSchedulers starts the schedulers, which are killed when ctx ends. Their reports come
// in one channel, which is closed when all have ended.
func (d *demo) startSchedulers(ctx context.Context) (map[string]*schedulerProcess, <-chan demoTurn, error) {
	schedulers, turns := map[string]*schedulerProcess{}, make(chan demoTurn)
	var running sync.WaitGroup
	for i := range demoSchedulers {
		name, s := fmt.Sprintf("s%d", i+1), &schedulerProcess{}
		r, w := io.Pipe()
		var err error
		s.process, err = procgrid.StartProcess(procgrid.Spec{
			Command: []string{d.grid.Binary, "demo-scheduler", "--endpoints", strings.Join(d.grid.Addresses(), ","), "--name", name},
			Stdout:  w, Stderr: &s.stderr,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("start scheduler %s: %w", name, err)
		}
		context.AfterFunc(ctx, s.process.Kill)
		schedulers[name] = s
		go func() {
			<-s.process.Done
			w.Close()
		}()
		running.Go(func() {
			for in := json.NewDecoder(bufio.NewReader(r)); ; {
				var t demoTurn
				if in.Decode(&t) != nil {
					return
				}
				select {
				case turns <- t:
				case <-ctx.Done():
				}
			}
		})
	}
	go func() {
		running.Wait()
		close(turns)
	}()
	return schedulers, turns, nil
}

// demoTurns is what was seen of the schedulers that led.
type demoTurns struct {
	leaders []demoTurn  // in their order, as they began
	began   []time.Time // when each was seen
	victim  demoTurn    // who was killed
	killed  time.Time   // when; zero: nobody yet
}

// add notes a report and reports whether it tells of another leader.
func (s *demoTurns) add(t demoTurn, now time.Time) bool {
	if t.Job != 0 {
		return false
	}
	s.leaders = append(s.leaders, t)
	s.began = append(s.began, now)
	return true
}

// takeOver returns how long after the kill the next leader was there.
func (s *demoTurns) takeOver() (time.Duration, bool) {
	for _, at := range s.began {
		if !s.killed.IsZero() && at.After(s.killed) {
			return at.Sub(s.killed), true
		}
	}
	return 0, false
}

// wrong returns what is wrong with the leaders: tokens grow, and somebody succeeds the one
// that was killed.
func (s *demoTurns) wrong() (wrong []string) {
	for i := 1; i < len(s.leaders); i++ {
		if a, b := s.leaders[i-1], s.leaders[i]; b.Token <= a.Token {
			wrong = append(wrong, fmt.Sprintf("scheduler %s leads with token %d after %s with token %d", b.Name, b.Token, a.Name, a.Token))
		}
	}
	if _, ok := s.takeOver(); !ok {
		wrong = append(wrong, "nobody took over from a leader that was killed")
	}
	return wrong
}

// wrongResults returns what is wrong with the results: there is one for each job, in the
// order of jobs, and the tokens of those who recorded them never fall.
func wrongResults(results []demoResult) (wrong []string) {
	times := map[int]int{}
	for i, r := range results {
		times[r.Job]++
		if i > 0 && r.Token < results[i-1].Token {
			wrong = append(wrong, fmt.Sprintf("job %d was recorded with token %d after one with token %d", r.Job, r.Token, results[i-1].Token))
		}
	}
	for job := 1; job <= demoJobs; job++ {
		if n := times[job]; n != 1 {
			wrong = append(wrong, fmt.Sprintf("job %d was recorded %d times", job, n))
		}
	}
	return wrong
}

// recordedBy returns how many results the leader with a token has recorded.
func recordedBy(results []demoResult, token protocol.Token) (n int) {
	for _, r := range results {
		if r.Token == token {
			n++
		}
	}
	return n
}
