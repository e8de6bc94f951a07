package protocol_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/quorate/quorate/protocol"
)

var rewriteConversation = flag.Bool("conversation", false, "write the conversation into docs/protocol.md")

// TestConversation holds the conversation on docs/protocol.md to the bytes that
// this package writes.
func TestConversation(t *testing.T) {
	const (
		page  = "../docs/protocol.md"
		begin = "<!-- conversation: protocol.TestConversation writes it -->\n"
		end   = "<!-- end of the conversation -->\n"
	)
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	written, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/protocol.md has no place for the conversation")
	}
	want := "```\n" + conversation(t) + "```\n"
	if *rewriteConversation {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if written != want {
		t.Fatalf("docs/protocol.md has another conversation; run the test with -conversation. It should be:\n%s", want)
	}
}

// conversation is that of a client on the simple level: it greets, adds to a
// counter, repeats the call as if it had lost the reply, and reads the counter.
func conversation(t *testing.T) string {
	var out strings.Builder
	say := func(who, what string, message []byte) {
		fmt.Fprintf(&out, "%s  %s\n", who, what)
		frame := protocol.EndFrame(append(protocol.BeginFrame(nil), message...), 0)
		var items []cbor.RawMessage
		if err := cbor.Unmarshal(message, &items); err != nil {
			t.Fatal(err)
		}
		head := len(message)
		for _, item := range items {
			head -= len(item)
		}
		line := fmt.Sprintf("    %x %x", frame[:4], message[:head])
		for _, item := range items {
			next := fmt.Sprintf(" %x", []byte(item))
			if len(line)+len(next) > 110 {
				fmt.Fprintln(&out, line)
				line = "   "
			}
			line += next
		}
		fmt.Fprintln(&out, line)
		text, err := cbor.Diagnose(message)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "    %s\n\n", text)
	}
	id := protocol.UUID{0x8e, 0x1c, 0x2d, 0x7a, 0x40, 0x11, 0x4f, 0x5b, 0x9a, 0x03, 0x6b, 0x51, 0xd2, 0x0c, 0x77, 0xe4}
	cluster := protocol.UUID{0x3b, 0x0e, 0x52, 0x94, 0x8a, 0x6c, 0x4d, 0x21, 0xb7, 0x4f, 0x90, 0x2e, 0x11, 0x5d, 0xc8, 0x60}

	fmt.Fprintf(&out, "client  the preface: %q\n    %x\n\n", "QUORATEC", "QUORATEC")
	hello := protocol.NewHello(id, "example")
	hello.Flags = protocol.HelloForward | protocol.HelloRoute | protocol.HelloNoTables
	hello.SessionTTL = 10_000
	say("client", "hello: forward, route and push no tables; open a session of ten seconds", protocol.Encode(hello))

	limits := protocol.DefaultLimits()
	say("member", "welcome: the limits, 271 partitions, no table, session 17", protocol.Encode(protocol.Welcome{
		Type: protocol.TypeWelcome, Version: 1, Oldest: 1, Newest: 1, Cluster: cluster, Name: "quorate", Member: 2,
		Durability: "disk", Limits: limits, Body: limits.Body(), Partitions: 271,
		Table: protocol.Table{Type: protocol.TypeTable}, Session: 17, SessionTTL: 10_000,
	}))

	const ( // as package dcounter has them
		counter    protocol.KindID = 2
		counterGet protocol.Op     = 1
		counterAdd protocol.Op     = 3
	)
	add := protocol.Request{
		ID: 1, TimeLeft: 400, Kind: counter, Op: counterAdd, Name: "hits",
		Caller: protocol.Caller{Session: 17, Slot: 0, Sequence: 1}, Body: protocol.AppendInts(nil, 5),
	}
	say("client", "request 1: counter, add 5 to hits, as sequence 1 of slot 0; the client waits 400 ms for the reply", add.Append(nil))
	done := protocol.Reply{ID: 1, Epoch: 9, Version: 4, Body: protocol.AppendInts(nil, 5)}
	say("member", "reply 1: done; the sum is 5. It is the partition's fourth mutation", done.Append(nil))

	add.ID, add.Flags = 2, protocol.FlagRepeat
	say("client", "request 2: had the reply been lost, the same call again, with the flag repeat", add.Append(nil))
	done.ID = 2
	say("member", "reply 2: the recorded answer; nothing was added", done.Append(nil))

	get := protocol.Request{ID: 3, TimeLeft: 400, Flags: protocol.FlagRead, Kind: counter, Op: counterGet, Name: "hits", Body: protocol.AppendInts(nil)}
	say("client", "request 3: counter, get hits; a read has no identity", get.Append(nil))
	read := protocol.Reply{ID: 3, Epoch: 9, Version: 4, Body: protocol.AppendInts(nil, 5)}
	say("member", "reply 3: the value is 5", read.Append(nil))
	return strings.TrimSuffix(out.String(), "\n")
}
