package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// register is a kind of structure that this command does not know: a text.
type register struct{ structures.Base }

const (
	opRegisterSet protocol.Op = 1 // [text] -> []
	opRegisterGet protocol.Op = 2 // [] -> [text]
)

var registerKey = []byte("v")

func registerKind() structures.Kind {
	return structures.Kind{
		ID: 200, Name: "register", Level: 1, Machine: register{},
		Doc: "One text, empty before it is written", Unit: "letters",
		Ops: []structures.OpInfo{
			{Op: opRegisterSet, Name: "set", Body: "[text: tstr]", Result: "[]", Grows: true, Right: structures.RightWrite},
			{Op: opRegisterGet, Name: "get", Body: "[]", Result: "[text: tstr]", Read: true, Right: structures.RightRead},
		},
		Settings: []structures.SettingInfo{
			{Name: "alphabet", Type: structures.SettingText, Default: structures.SettingValue{Text: "latin", IsText: true}, Help: "which letters it has"},
			{Name: "linger", Type: structures.SettingDuration, Default: structures.SettingValue{Int: 1500}, Help: "how long it stays"},
			{Name: "longest", Type: structures.SettingInt, Help: "how many letters it has at most"},
		},
	}
}

func (register) Check(op protocol.Op, body []byte) error {
	r := protocol.NewReader(body)
	switch op {
	case opRegisterSet:
		r.Array(1)
		_ = r.String()
	case opRegisterGet:
		r.Array(0)
	default:
		return fmt.Errorf("%w: operation %d", quorate.ErrUnsupported, op)
	}
	return r.Done()
}

func (register) Apply(env structures.Env, _ protocol.Op, body []byte) structures.Result {
	r := protocol.NewReader(body)
	r.Array(1)
	env.Put(registerKey, structures.Row{Value: []byte(r.String())})
	return structures.OK(protocol.AppendArray(nil, 0))
}

func (register) Read(view structures.View, _ protocol.Op, _ []byte) structures.Result {
	row, _ := view.Get(registerKey)
	return structures.OK(protocol.AppendString(protocol.AppendArray(nil, 1), string(row.Value)))
}

func (register) Len(view structures.View) int64 {
	row, _ := view.Get(registerKey)
	return int64(len(row.Value))
}

// TestLaterKind: a grid of a later version has a kind of structure that this command
// does not know. It lists, inspects, configures, completes and destroys what is of it
// all the same, and members count its operations by name.
func TestLaterKind(t *testing.T) {
	later := registerKind()
	g := gridtest.Start(t, 1, gridtest.WithKinds(append(kinds.All(), later)),
		gridtest.WithConfig(func(_ int, cfg *grid.Config) { cfg.HTTP = "127.0.0.1:0" }))
	t.Setenv("QUORATE_ENDPOINTS", g.Addrs()[0])
	h := structures.NewHandle(g.Client(t), &later, "motto", nil)
	body := protocol.AppendString(protocol.AppendArray(nil, 1), "festina lente")
	if _, err := h.Invoke(t.Context(), h.Call("set", opRegisterSet, 0, h.Partition(nil), body)); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (int, string) {
		t.Helper()
		var out, errs bytes.Buffer
		a := &cli.App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
		code := run(a, args)
		return code, out.String() + errs.String()
	}
	for _, test := range []struct {
		line string
		code int
		want string
	}{
		{"counter set hits 3", 0, ""},
		{"ls", 0, "register  motto  13      "},
		{"ls", 0, "counter   hits   3       "},
		{"ls register -o json", 0, `"kind":"register","length":13,"name":"motto","unit":"letters"`},
		{"ls registre", 2, `no kind of structure "registre": is it register?`},
		{"ls zzz", 2, " or register"},
		{"inspect register motto", 0, "length    13 letters"},
		{"inspect register motto", 0, "settings  defaults"},
		{"inspect register none", 1, "there is no register none"},
		{"configure register motto longets=20", 2, `a register has no setting "longets": is it longest?`},
		{"configure register motto linger=soon", 2, "the setting linger=soon: want a duration"},
		{"configure register motto longest=20 alphabet=greek linger=2s", 0, ""},
		{"configure register motto longest=21", 1, "in force: alphabet greek, linger 2s, longest 20"},
		{"configure register motto", 0, "alphabet  greek  latin    which letters it has\nlinger    2s     1.5s     how long it stays\nlongest   20     0        how many"},
		{"inspect register motto -o json", 0, `"agreed":true,`},
		{"inspect register motto -o json", 0, `"settings":{"alphabet":"greek","linger":"2s","longest":20}`},
		{"complete-words -- inspect reg", 0, "register\t"},
		{"complete-words -- inspect register mo", 0, "motto\t"},
		{"complete-words -- configure register motto l", 0, "linger=\thow long it stays\nlongest=\t"},
		{"destroy register motto -o json", 0, `{"destroyed":true,"kind":"register","name":"motto"}`},
		{"inspect register motto", 1, "there is no register motto"},
	} {
		code, got := run(strings.Fields(test.line)...)
		if code != test.code || !strings.Contains(got, test.want) {
			t.Errorf("quorate %s: exit status %d\n%swant %d and %q", test.line, code, got, test.code, test.want)
		}
	}
	// A number that a client has chosen is no label.
	for op := protocol.Op(70); op < 80; op++ {
		if _, err := h.Invoke(t.Context(), h.Call("guess", op, 0, h.Partition(nil), nil)); err == nil {
			t.Error("an operation that is not there was carried out")
		}
	}
	client := http.Client{Timeout: time.Minute}
	r, err := client.Get("http://" + g.Member(0).HTTPAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	metrics, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`quorate_operations_total{kind="register",op="set"} 1`,
		`quorate_operations_total{kind="register",op="configure"} 2`,
		`quorate_operations_total{kind="register",op="destroy"} 1`,
		`quorate_operations_total{kind="control",op="names"} `,
		`quorate_operation_seconds_count{class="write",kind="register"} `,
	} {
		if !strings.Contains(string(metrics), "\n"+line) {
			t.Errorf("metrics have no line %q", line)
		}
	}
	for _, label := range regexp.MustCompile(`quorate_operations_total{kind="(.*)",op="(.*)"}`).FindAllSubmatch(metrics, -1) {
		control := structures.Control()
		ops := control.Ops
		for _, k := range append(kinds.All(), later) {
			if k.Name == string(label[1]) {
				ops = append(k.Ops, k.Generic()...)
			}
		}
		if !slices.ContainsFunc(ops, func(o structures.OpInfo) bool { return o.Name == string(label[2]) }) {
			t.Errorf("no kind has what is counted as %s", label[0])
		}
	}
}
