package partition

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
)

// vector is one line of testdata/vectors.json.
type vector struct {
	Partitions int                  `json:"partitions"`
	Name       string               `json:"name"`
	Key        *string              `json:"key"`    // hexadecimal, its kind first
	Hashed     string               `json:"hashed"` // hexadecimal
	Hash       string               `json:"hash"`
	Of         protocol.PartitionID `json:"of"`
}

func text(s string) []byte { return append([]byte{protocol.KeyText}, s...) }

func TestVectors(t *testing.T) {
	cases := []struct {
		name   string
		key    []byte
		hashed string
	}{
		{"hits", nil, "hits"},
		{"", nil, ""},
		{"{ada}:jobs", nil, "ada"},
		{"jobs:{}", nil, "jobs:{}"},
		{"jobs:{}{ada}", nil, "ada"},
		{"{{ada}}", nil, "{ada"},
		{"{ada", nil, "{ada"},
		{"}ada{", nil, "}ada{"},
		{"users", text("ada"), "ada"},
		{"orders", text("ada"), "ada"},
		{"users", text(""), ""},
		{"users", text("{ada}:cart"), "ada"},
		{"users", text("a{b}c{d}"), "b"},
		{"users", text("{}"), "{}"},
		{"users", text("{}{d}"), "d"},
		{"users", text("a}b{c"), "a}b{c"},
		{"{eu}users", text("ada"), "eu"},
		{"{eu}users", text("{ada}:cart"), "eu"},
		{"users", text("Z\u00fcrich"), "Z\u00fcrich"},
		{"users", append([]byte{protocol.KeyInt}, 0x80, 0, 0, 0, 0, 0, 0, 42), "\x80\x00\x00\x00\x00\x00\x00\x2a"},
		{"users", append([]byte{protocol.KeyInt}, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "\x7f\xff\xff\xff\xff\xff\xff\xff"},
		{"users", append([]byte{protocol.KeyUint}, 0, 0, 0, 0, 0, 0, 0, 42), "\x00\x00\x00\x00\x00\x00\x00\x2a"},
		{"users", append([]byte{protocol.KeyBytes}, "{ada}:cart"...), "{ada}:cart"},
		{"users", append([]byte{protocol.KeyCBOR}, 0x82, 0x01, 0x61, 'a'), "\x82\x01\x61a"},
		{"users", text("a key of more than thirty-two bytes takes the long path of the hash"), "a key of more than thirty-two bytes takes the long path of the hash"},
	}
	var got []vector
	for _, partitions := range []int{DefaultPartitions, 1, 16} {
		for _, c := range cases {
			v := vector{
				Partitions: partitions,
				Name:       c.name,
				Hashed:     hex.EncodeToString([]byte(c.hashed)),
				Hash:       strconv.FormatUint(xxhash.Sum64String(c.hashed), 16),
				Of:         Of(partitions, c.name, c.key),
			}
			if c.key != nil {
				key := hex.EncodeToString(c.key)
				v.Key = &key
			}
			if want := xxhash.Sum64String(c.hashed) % uint64(partitions); uint64(v.Of) != want {
				t.Errorf("Of(%d, %q, %q) = %d, want %d: the hash of %q", partitions, c.name, c.key, v.Of, want, c.hashed)
			}
			got = append(got, v)
		}
	}
	const file = "testdata/vectors.json"
	if *rewrite {
		b, err := json.MarshalIndent(got, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []vector
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	// Released vectors never change: what is stored was routed by them.
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s:\n%s", file, diff)
	}
}

func TestOfWithoutPartitions(t *testing.T) {
	for _, n := range []int{-1, 0, 1} {
		if p := Of(n, "users", text("ada")); p != 0 {
			t.Errorf("Of(%d, ...) = %d, want 0", n, p)
		}
	}
}

func TestTagCollocates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 1000).Draw(t, "partitions")
		tag := rapid.StringMatching(`[^{}]+`).Draw(t, "tag")
		before := rapid.StringMatching(`[^{]*`).Draw(t, "before")
		after := rapid.String().Draw(t, "after")
		want := Of(n, tag, nil)
		if got := Of(n, before+"{"+tag+"}"+after, nil); got != want {
			t.Fatalf("in the name: %d, want %d", got, want)
		}
		if got := Of(n, before+"{"+tag+"}"+after, text("k")); got != want {
			t.Fatalf("in the name, with a key: %d, want %d", got, want)
		}
		if got := Of(n, "users", text(before+"{"+tag+"}"+after)); got != want {
			t.Fatalf("in the key: %d, want %d", got, want)
		}
		if int(want) >= n {
			t.Fatalf("partition %d of %d", want, n)
		}
	})
}

func TestKeysSpread(t *testing.T) {
	const keys = 100_000
	count := make([]int, DefaultPartitions)
	for i := range keys {
		count[Of(DefaultPartitions, "users", text("user:"+strconv.Itoa(i)))]++
	}
	mean := keys / DefaultPartitions
	for p, n := range count {
		if n < mean*3/4 || n > mean*5/4 {
			t.Errorf("partition %d has %d of %d keys, mean %d", p, n, keys, mean)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	b.ReportAllocs()
	key := text("user:123456")
	for b.Loop() {
		Of(DefaultPartitions, "users", key)
	}
}
