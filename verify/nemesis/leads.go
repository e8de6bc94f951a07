package nemesis

import (
	"bufio"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Lead is what a member has logged of who leads a group.
type Lead struct {
	At     time.Time
	Member string
	Group  protocol.GroupID
	Begins bool // it leads from now on
	// Gated is how long nobody could write while the member transferred the
	// leadership, until it knew who leads; 0: it has not.
	Gated time.Duration
}

var (
	leadsLine  = regexp.MustCompile(`^time=(\S+) .*msg="(became leader of the group|leadership transferred)".* group=(\d+)`)
	gatedField = regexp.MustCompile(` gated=(\S+)`)
)

// Leads returns what the members have logged since a time, the earliest first.
func (g *Grid) Leads(since time.Time) ([]Lead, error) {
	var all []Lead
	for _, m := range g.members {
		f, err := os.Open(m.LogFile)
		if err != nil {
			return nil, err
		}
		leads, err := readLeads(f, m.Name, since)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		all = append(all, leads...)
	}
	slices.SortStableFunc(all, func(a, b Lead) int { return a.At.Compare(b.At) })
	return all, nil
}

func readLeads(r io.Reader, member string, since time.Time) ([]Lead, error) {
	var leads []Lead
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l, ok := parseLead(lines.Text())
		if ok && !l.At.Before(since) {
			l.Member = member
			leads = append(leads, l)
		}
	}
	return leads, lines.Err()
}

func parseLead(line string) (Lead, bool) {
	m := leadsLine.FindStringSubmatch(line)
	if m == nil {
		return Lead{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, m[1])
	id, err2 := strconv.ParseUint(m[3], 10, 64)
	if errors.Join(err, err2) != nil {
		return Lead{}, false
	}
	l := Lead{At: at, Group: protocol.GroupID(id), Begins: m[2] == "became leader of the group"}
	if l.Begins {
		return l, true
	}
	gated := gatedField.FindStringSubmatch(line)
	if gated == nil {
		return Lead{}, false
	}
	l.Gated, err = time.ParseDuration(gated[1])
	return l, err == nil
}
