package nemesis

import (
	"bytes"
	"log/slog"
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
		{"leads", func(l *slog.Logger) { l.Info("leads the group", "group", uint64(3), "term", uint64(7)) }, Lead{Group: 3, Begins: true}, true},
		{
			"handed over", func(l *slog.Logger) {
				l.Info("handed the group over", "group", uint64(2), "held", 1500*time.Microsecond)
			},
			Lead{Group: 2, Held: 1500 * time.Microsecond},
			true,
		},
		{"something else", func(l *slog.Logger) { l.Info("leads the group no longer", "group", uint64(3)) }, Lead{}, false},
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
