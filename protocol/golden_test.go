package protocol

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quorate/quorate/internal/otherversion"
)

var rewrite = flag.Bool("rewrite", false, "write the golden bytes in testdata")

const goldenFile = "testdata/golden.txt"

// sample is a message with the bytes it is for ever.
type sample struct {
	name   string
	value  any // a pointer
	encode func() []byte
	decode func(b []byte) (any, error)
	other  func(otherversion.Shape) []byte // as another version would encode it
	hot    bool                            // has an encoder of its own
	typed  bool                            // is a message, not a part of one
}

// extended returns what becomes of the message if it came with more elements.
func (s *sample) extended() any {
	switch v := s.value.(type) {
	case *Request:
		q := *v
		q.Extended = true
		return &q
	case *Batch:
		m := Batch{Requests: slices.Clone(v.Requests)}
		for i := range m.Requests {
			m.Requests[i].Extended = true
		}
		return &m
	}
	return s.value
}

// hot is a message with an encoder of its own.
func hot[T any, P interface {
	*T
	Append([]byte) []byte
	Decode([]byte) error
}, M any](name string, v T, mirror func(T) M) sample {
	return sample{
		name: name, value: &v, hot: true, typed: strings.HasPrefix(name, "re"),
		other: func(shape otherversion.Shape) []byte {
			m := mirror(v)
			return otherversion.Encode(&m, shape)
		},
		encode: func() []byte { return P(&v).Append(nil) },
		decode: func(b []byte) (any, error) {
			var got T
			err := P(&got).Decode(b)
			return &got, err
		},
	}
}

// message is hot for a message that is told from others by its type.
func message[T any, P interface {
	*T
	Append([]byte) []byte
	Decode([]byte) error
}, M any](name string, v T, mirror func(T) M) sample {
	s := hot[T, P](name, v, mirror)
	s.typed = true
	return s
}

// control is a message that Encode encodes.
func control[T any](name string, v T) sample {
	return sample{
		name: name, value: &v, typed: name != "session state",
		other: func(shape otherversion.Shape) []byte {
			var v2 T // a copy
			if err := Decode(Encode(&v), &v2); err != nil {
				panic(err)
			}
			return otherversion.Encode(&v2, shape)
		},
		encode: func() []byte { return Encode(&v) },
		decode: func(b []byte) (any, error) {
			var got T
			err := Decode(b, &got)
			return &got, err
		},
	}
}

func uuid(s string) UUID {
	u, err := ParseUUID(s)
	if err != nil {
		panic(err)
	}
	return u
}

// samples has every message at least once.
func samples() []sample {
	client := uuid("01234567-89ab-cdef-0123-456789abcdef")
	cluster := uuid("fedcba98-7654-3210-fedc-ba9876543210")
	get := Request{
		ID: 1, Partition: 42, Epoch: 7, TimeLeft: 10_000, Flags: FlagRead, Kind: 1, Op: 1,
		Name: "users", Body: []byte{0x81, 0x44, KeyText, 'a', 'd', 'a'},
	}
	put := Request{
		ID: 1 << 32, Partition: 270, Epoch: 1 << 16, TimeLeft: 500, Flags: FlagRepeat, Kind: 1, Op: 2,
		Name: "Z\u00fcrich", Caller: Caller{Session: 1000, Slot: 3, Sequence: 70_000}, Highest: 24,
		Body: []byte{0x80},
	}
	table := Table{
		Type: TypeTable, Epoch: 3, Partitions: []GroupID{2, 3, 2},
		Groups: []TableGroup{
			{ID: 1, Term: 5, Leader: 1, Replicas: []MemberID{1, 2, 3}},
			{ID: 2, Term: 300, Leader: 0, Replicas: []MemberID{1}},
		},
		Members: []TableMember{{ID: 1, Name: "n1", Address: "127.0.0.1:7170"}}, Cluster: cluster,
	}
	answer := table
	answer.ID = 1 << 20
	return []sample{
		hot("request get", get, mirrorRequest),
		hot("request put", put, mirrorRequest),
		hot("request cancel", Request{
			ID: 9, Partition: 1, Kind: KindControl, Op: OpCancel, Name: "jobs",
			Caller: Caller{Session: 1, Slot: 0, Sequence: 1}, Body: []byte{},
		}, mirrorRequest),
		hot("request largest", Request{
			ID: 1<<64 - 1, Partition: 1<<32 - 1, Epoch: 1<<64 - 1, TimeLeft: 1<<32 - 1, Flags: 255, Kind: 255, Op: 255,
			Name: strings.Repeat("n", 255), Caller: Caller{Session: 1<<64 - 1, Slot: 1<<16 - 1, Sequence: 1<<64 - 1},
			Highest: 1<<16 - 1, Body: bytes.Repeat([]byte{0xff}, 256),
		}, mirrorRequest),
		hot("reply ok", Reply{ID: 1, Code: CodeOK, Epoch: 7, Version: 90_000, Body: []byte{0x80}}, mirrorReply),
		hot("reply not leader", Reply{
			ID: 2, Code: CodeNotLeader, Epoch: 8,
			Body: (&Problem{Detail: "not the leader", Leader: 3}).Append(nil),
		}, mirrorReply),
		hot("reply of a structure", Reply{ID: 3, Code: CodeKindBase + 1, Epoch: 8, Version: 1, Body: []byte{}}, mirrorReply),
		hot("problem", Problem{Detail: "the queue is full", Wait: 50, Leader: 0}, mirrorProblem),
		{
			name: "batch", value: &Batch{Requests: []Request{get, put}}, hot: true, typed: true,
			other: func(shape otherversion.Shape) []byte {
				m := batchMirror{Type: uint8(TypeBatch), Requests: []requestMirror{mirrorRequest(get), mirrorRequest(put)}}
				return otherversion.Encode(&m, shape)
			},
			encode: func() []byte { return (&Batch{Requests: []Request{get, put}}).Append(nil) },
			decode: func(b []byte) (any, error) {
				var got Batch
				err := EachRequest(b, func(_ []byte, q *Request) { got.Requests = append(got.Requests, *q) })
				return &got, err
			},
		},
		message("watch events", WatchEvents{IDs: []uint64{7, 1 << 20}, Sections: []WatchSection{
			{Partition: 3, Version: 1<<48 | 70_000, Skip: 2, Events: []WatchEvent{
				{Type: 1, Flags: WatchMore, Version: 70_000, Previous: 5, Key: []byte{KeyText, 'a'}, Value: []byte{1, 7}, Old: []byte{1, 6}},
				{Type: 9, Version: 70_001},
				{Type: 1, Flags: WatchListed, Version: 70_002, Previous: 1500, Key: []byte{KeyText, 'b'}, Value: []byte{1, 8}},
			}},
			{Partition: 270, Version: 9},
		}}, mirrorWatchEvents),
		message("watch note", WatchNote{
			ID: 7, What: WatchGap, N: GapCompacted, Parts: []WatchPosition{{3, 70_000}}, Detail: (&Problem{Detail: "no", Leader: 2}).Append(nil),
		}, mirrorWatchNote),
		message("watch control", WatchControl{ID: 7, Action: WatchCredit, N: 65_536}, mirrorWatchControl),
		hot("watch", Watch{
			Kind: 1, Options: WatchKeysOnly, From: []byte{KeyText, 'a'}, To: []byte{KeyText, 'b'}, Types: 6, Credit: 65_536,
			Parts: []WatchPart{{Partition: 3, Start: WatchCurrent, Version: 70_000, Skip: 1, Listed: []byte{KeyText, 'a', 'b'}}, {Partition: 4, Start: WatchNow}},
		}, mirrorWatch),
		control("hello", Hello{
			Type: TypeHello, Oldest: 1, Newest: 1, Cluster: "prod", Client: client, Name: "billing",
			Flags: HelloForward | HelloRoute | HelloNoTables, SessionTTL: 10_000,
		}),
		control("welcome", Welcome{
			Type: TypeWelcome, Version: 1, Oldest: 1, Newest: 1, Cluster: cluster, Name: "prod", Member: 1, Durability: "disk",
			Limits: DefaultLimits(), Body: 1_053_696, Partitions: 3, Table: table, Session: 1000, SessionTTL: 10_000,
		}),
		control("table", table),
		control("table asked for", answer),
		control("table empty", Table{Type: TypeTable}),
		control("table request", TableRequest{Type: TypeTableRequest, Have: 3, ID: 1 << 20}),
		control("goodbye", Goodbye{Type: TypeGoodbye, Reason: "shutting down"}),
		control("session open", SessionRequest{Type: TypeSession, ID: 1, Action: SessionOpen, Client: client, TTL: 10_000}),
		control("session heartbeat", SessionRequest{Type: TypeSession, ID: 2, Action: SessionHeartbeat, Session: 1000}),
		control("session state", SessionState{Session: 1000, TTL: 10_000}),
		control("admin", AdminRequest{Type: TypeAdmin, ID: 1, What: "status"}),
		control("peer", PeerRequest{Type: TypePeer, ID: 1, What: "join", Args: []byte{0x80}}),
	}
}

// ignoreMarkers leaves out the fields that only mark a struct as an array.
var ignoreMarkers = cmpopts.IgnoreUnexported(
	Hello{}, Welcome{}, Limits{}, Table{}, TableGroup{}, TableMember{}, TableRequest{}, Goodbye{},
	SessionRequest{}, SessionState{}, AdminRequest{}, PeerRequest{},
)

func readGolden(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	golden := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		name, digits, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			t.Fatalf("%s: bad line %q", goldenFile, line)
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatalf("%s: %s: %v", goldenFile, name, err)
		}
		golden[name] = b
	}
	return golden
}

// TestGolden holds every message to bytes that never change once released.
func TestGolden(t *testing.T) {
	if *rewrite {
		var text strings.Builder
		for _, s := range samples() {
			fmt.Fprintf(&text, "%s: %x\n", s.name, s.encode())
		}
		if err := os.WriteFile(goldenFile, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden := readGolden(t)
	for _, s := range samples() {
		want, ok := golden[s.name]
		if !ok {
			t.Errorf("%s is not in %s", s.name, goldenFile)
			continue
		}
		if got := s.encode(); !bytes.Equal(got, want) {
			t.Errorf("%s is encoded as\n%x, want\n%x", s.name, got, want)
		}
		got, err := s.decode(want)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		if diff := cmp.Diff(s.value, got, ignoreMarkers, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s:\n%s", s.name, diff)
		}
		delete(golden, s.name)
	}
	for name := range golden {
		t.Errorf("%s has no message any more: golden bytes are for ever", name)
	}
}

// seed gives a fuzz target the golden bytes to start from.
func seed(f *testing.F) {
	f.Helper()
	for _, b := range readGolden(f) {
		f.Add(b)
	}
}
