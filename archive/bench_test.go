package archive_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/quorate/quorate/archive"
)

// benchRows writes 10,000 rows of about 130 bytes.
func benchRows(tb testing.TB, to io.Writer) {
	tb.Helper()
	w, err := archive.NewWriter(to, header)
	must(tb, err)
	must(tb, w.Section(archive.Section{Partition: 1, Revision: 1 << 30}))
	must(tb, w.Structure(archive.Structure{Instance: 1, Kind: 1, Name: "users"}))
	value := bytes.Repeat([]byte(`{"logins":1} `), 8)
	for i := range 10_000 {
		copy(value[10:], fmt.Sprint(i*7919))
		must(tb, w.Row(archive.Row{Instance: 1, Key: fmt.Appendf(nil, "user-%08d", i), Value: value, Version: 7}))
	}
	_, err = w.Close()
	must(tb, err)
}

func BenchmarkWrite(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(10_000 * 130)
	for b.Loop() {
		benchRows(b, io.Discard)
	}
}

func BenchmarkRead(b *testing.B) {
	var whole bytes.Buffer
	benchRows(b, &whole)
	b.Logf("%d bytes", whole.Len())
	b.ReportAllocs()
	b.SetBytes(10_000 * 130)
	for b.Loop() {
		if _, err := archive.Read(bytes.NewReader(whole.Bytes()), nil); err != nil {
			b.Fatal(err)
		}
	}
}
