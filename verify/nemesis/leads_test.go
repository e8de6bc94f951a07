package nemesis

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestParseLead shows that what a member logs is understood.
func TestParseLead(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want Lead
		ok   bool
	}{
		{"leads", func(l *slog.Logger) { l.Info("became leader of the group", "group", uint64(3), "term", uint64(7)) }, Lead{Group: 3, Begins: true}, true},
		{
			"transferred", func(l *slog.Logger) {
				l.Info("leadership transferred", "group", uint64(2), "gated", 1500*time.Microsecond)
			},
			Lead{Group: 2, Gated: 1500 * time.Microsecond},
			true,
		},
		{"something else", func(l *slog.Logger) { l.Info("no longer leader of the group", "group", uint64(3)) }, Lead{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.log(slog.New(slog.NewTextHandler(&b, nil)).With("member", "n1"))
			got, ok := parseLead(b.String())
			if recent := time.Since(got.At) < time.Minute; ok && !recent {
				t.Errorf("at %v", got.At)
			}
			got.At = time.Time{}
			if got != tt.want || ok != tt.ok {
				t.Errorf("%q: %+v, %v; want %+v, %v", b.String(), got, ok, tt.want, tt.ok)
			}
		})
	}
}

// TestLeadsAreLogged wants the lines that are looked for to be those that members log.
func TestLeadsAreLogged(t *testing.T) {
	for file, call := range map[string]string{
		"events.go":   `Info("became leader of the group"`,
		"transfer.go": `Info("leadership transferred", "group", uint64(id), "replica", uint64(to), "gated", `,
	} {
		b, err := os.ReadFile(filepath.Join("..", "..", "shardgroups", file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte(call)) {
			t.Errorf("%s does not have %s", file, call)
		}
	}
}
