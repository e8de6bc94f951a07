package kinds_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

const bodiesFile = "testdata/bodies.txt"

const bodiesHead = `# The bodies and results of all operations, as members and this project's client write
# them: go test ./kinds -rewrite. Most are recorded while handles are used.
#
# A line is a kind, an operation, the body of a request, and the code and the body of the
# reply, in hex, where nothing is -:
#
#   map get: 814401616461 -> 0 834a01684c6f76656c6163650100
#
# A comment before it says what was done, and has both in CBOR's diagnostic notation (RFC
# 8949, section 8). What a code other than 0 and 60 comes with is a problem, whose detail
# is human-readable and may change. The lines of each kind follow each other in one structure.
# At the end each code below 1000 has a problem as an example: code, name: body.
#
# Versions, holds and tokens are those of a grid that has just begun.
`

// scripts use the operations of each kind, so that every one of them, and every code,
// is answered once at least.
var scripts = map[string]func(*recorder){
	"map":       mapBodies,
	"counter":   counterBodies,
	"semaphore": semaphoreBodies,
	"queue":     queueBodies,
	"lock":      lockBodies,
	"rwlock":    rwlockBodies,
	"service":   serviceBodies,
	"presence":  presenceBodies,
	"latch":     latchBodies,
	"barrier":   barrierBodies,
	"election":  electionBodies,
	"ref":       refBodies,
	"id":        idBodies,
	"rate":      rateBodies,
}

// TestBodies: what members answer is what it was, for every operation and code that a
// kind describes.
func TestBodies(t *testing.T) {
	want := bodiesHead
	for _, k := range kinds.All() {
		script := scripts[k.Name]
		if script == nil {
			t.Errorf("no script uses the operations of a %s", k.Name)
			continue
		}
		r := newRecorder(t, k)
		script(r)
		genericBodies(r)
		for _, lack := range r.lacks() {
			t.Errorf("%s: %s", k.Name, lack)
		}
		want += fmt.Sprintf("\n# %s (kind %d)\n%s", k.Name, k.ID, r.text.String())
	}
	transactions := structures.Transactions()
	r := newRecorder(t, transactions, kinds.All()...)
	transactionBodies(r)
	for _, lack := range r.lacks() {
		t.Errorf("transactions: %s", lack)
	}
	want += fmt.Sprintf("\n# %s (kind %d)\n%s", transactions.Name, transactions.ID, r.text.String())
	for _, o := range structures.Control().Ops {
		if o.Op == protocol.OpWatch { // no group carries it out: golden.txt of package protocol has its messages
			continue
		}
		if !strings.Contains(want, "\ncontrol "+o.Name+": ") {
			t.Errorf("%s is not carried out", o.Name)
		}
	}
	want += problems()
	if *rewrite && !t.Failed() {
		if err := os.WriteFile(filepath.FromSlash(bodiesFile), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.FromSlash(bodiesFile))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what members answer; for what is new: go test ./kinds -rewrite\n%s", bodiesFile, differs(string(got), want))
	}
}

// problems are examples of what codes come with that only members give, or that are
// those of any operation.
func problems() string {
	var b strings.Builder
	b.WriteString("\n# problems\n")
	for _, c := range protocol.Codes() {
		if c.Code.Class() == protocol.ClassDone {
			continue
		}
		p := protocol.Problem{Detail: c.Name}
		switch c.Code {
		case protocol.CodeNotLeader:
			p.Leader = 3
		case protocol.CodeBusy, protocol.CodeFrozen:
			p.Wait = 50
		}
		body := p.Append(nil)
		fmt.Fprintf(&b, "\n# %s\ncode %d, %s: %x\n", diagnostic(body), c.Code, c.Name, body)
	}
	return b.String()
}

// recorder writes down what a script does.
type recorder struct {
	*testing.T
	kind   structures.Kind
	local  *structurestest.Local
	client *structurestest.Client
	done   string // what the script says that it does
	text   strings.Builder
	lines  map[string]bool
	seen   map[protocol.Op]map[protocol.Code]bool // of the kind
}

// newRecorder returns a recorder of the operations of a kind, on a grid that serves some,
// or only that one.
func newRecorder(t *testing.T, k structures.Kind, served ...structures.Kind) *recorder {
	if len(served) == 0 {
		served = []structures.Kind{k}
	}
	r := &recorder{
		T: t, kind: k, local: structurestest.NewLocal(t, served...),
		lines: map[string]bool{}, seen: map[protocol.Op]map[protocol.Code]bool{},
	}
	r.client = r.local.Client()
	r.local.Observe(r.record)
	return r
}

// name is that of the structure. Its tag puts a structure with keys into one
// partition.
const name = "{golden}"

// does says what comes, and fails the test if it went wrong.
func (r *recorder) does(what string, f func(ctx context.Context) error) {
	r.Helper()
	r.done = what
	if err := f(context.Background()); err != nil {
		r.Fatalf("%s: %v", what, err)
	}
}

// fails is does for what is refused.
func (r *recorder) fails(what string, f func(ctx context.Context) error) {
	r.Helper()
	r.done = what
	if err := f(context.Background()); err == nil {
		r.Fatalf("%s: no error", what)
	}
}

// waits is does for what waits until something else is done, then, or is refused.
func (r *recorder) waits(what string, f func(ctx context.Context) error, then func(ctx context.Context) error) {
	r.Helper()
	r.done = what
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- f(ctx) }()
	r.local.AwaitWaiting(1)
	if then == nil {
		cancel()
	} else if err := then(context.Background()); err != nil {
		r.Fatal(err)
	}
	if err := <-ended; err != nil {
		r.done = what + ": " + err.Error()
	}
}

// sends is does for a request that no handle makes. Call is the name in it.
func (r *recorder) sends(what string, kind protocol.KindID, op protocol.Op, call string, flags protocol.Flags, body []byte) {
	r.does(what, func(ctx context.Context) error {
		_, err := r.client.Invoke(ctx, structures.Call{
			Kind: kind, Op: op, Name: call, Flags: flags, Body: body, Partition: r.client.Partition(name, nil), Verb: what, Label: r.kind.Name,
		})
		if err != nil && !strings.Contains(what, "refused") {
			return err
		}
		return nil
	})
}

// record writes a line.
func (r *recorder) record(q *protocol.Request, result structures.Result) {
	kind, info := r.kind.Name, r.kind.Op(q.Op)
	if q.Kind == protocol.KindControl {
		control := structures.Control()
		kind, info = control.Name, control.Op(q.Op)
	} else if q.Kind != r.kind.ID {
		return // what prepares
	}
	line := fmt.Sprintf("%s %s: %s -> %d %s\n", kind, info.Name, hexOrNone(q.Body), result.Code, hexOrNone(result.Body))
	if r.lines[line] {
		return
	}
	r.lines[line] = true
	fmt.Fprintf(&r.text, "\n# %s\n# %s -> %s\n%s", r.done, diagnostic(q.Body), diagnostic(result.Body), line)
	if q.Kind == r.kind.ID {
		if r.seen[q.Op] == nil {
			r.seen[q.Op] = map[protocol.Code]bool{}
		}
		r.seen[q.Op][result.Code] = true
	}
}

// lacks says which operations, and which codes of theirs, were not answered.
func (r *recorder) lacks() (list []string) {
	for _, o := range slices.Concat(r.kind.Ops, r.kind.Generic()) {
		codes := r.seen[o.Op]
		settings := o.Op == structures.OpConfigure || o.Op == structures.OpAdopt
		if !codes[protocol.CodeOK] && !(settings && len(r.kind.Settings) == 0) {
			list = append(list, fmt.Sprintf("%s is not carried out", o.Name))
		}
		for _, c := range o.Codes {
			if !codes[c] && !(settings && len(r.kind.Settings) == 0) {
				list = append(list, fmt.Sprintf("%s is not refused with %d", o.Name, c))
			}
		}
	}
	return list
}

func hexOrNone(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b)
}

// diagnostic returns CBOR of the one form in its diagnostic notation.
func diagnostic(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	text, rest := item(b)
	if len(rest) > 0 {
		panic(fmt.Sprintf("%x follow an item", rest))
	}
	return text
}

func item(b []byte) (text string, rest []byte) {
	major, n := b[0]>>5, uint64(b[0]&0x1f)
	b = b[1:]
	if major == 7 {
		return strconv.FormatBool(n == 21), b
	}
	if n >= 24 {
		size := 1 << (n - 24)
		n = 0
		for _, c := range b[:size] {
			n = n<<8 | uint64(c)
		}
		b = b[size:]
	}
	switch major {
	case 0:
		return strconv.FormatUint(n, 10), b
	case 1:
		return strconv.FormatInt(-1-int64(n), 10), b
	case 2:
		return fmt.Sprintf("h'%x'", b[:n]), b[n:]
	case 3:
		return strconv.Quote(string(b[:n])), b[n:]
	}
	items := make([]string, n) // an array: there is nothing else
	for i := range items {
		items[i], b = item(b)
	}
	return "[" + strings.Join(items, ", ") + "]", b
}
