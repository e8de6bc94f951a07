package identity

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
)

// FuzzMemberFile shows that member.json of any bytes is read or refused, and
// that one that is read says the same when it is written again.
func FuzzMemberFile(f *testing.F) {
	for _, m := range []Member{
		{Format: Format, Name: "n1", Incarnation: protocol.UUID{1}, Starts: 1},
		{
			Format: Format, Name: "n2", Incarnation: protocol.UUID{2}, Starts: 3, Cluster: protocol.UUID{3}, ClusterName: "c",
			Founder: protocol.UUID{4}, FounderAddress: "10.0.0.1:7170", Formed: true, Durability: "disk", Partitions: 271,
			Groups: 3, Replicas: 3, Level: 1, Started: []Replica{{Group: 1, Replica: 2}},
			Peers: []Peer{{protocol.UUID{5}, "10.0.0.2:7170", true, Run{2, 9}}},
		},
	} {
		b, err := encode(&m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"format": 99}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		readsAgain(t, b)
		// What is behind the checksum, too: the fuzzer does not find one.
		if n := len(b); n > 4 && string(b[n-3:]) == "\n}\n" {
			sum := checksum(b)
			readsAgain(t, append(append(b[:n-3:n-3], checksumStart+sum...), checksumEnd...))
		}
	})
}

func readsAgain(t *testing.T, b []byte) {
	t.Helper()
	m, err := decode(b)
	if err != nil {
		return
	}
	again, err := encode(&m)
	if err != nil {
		t.Fatal(err)
	}
	n, err := decode(again)
	if err != nil || !cmp.Equal(m, n) {
		t.Fatalf("%v: it says something else when it is written again:\n%s", err, cmp.Diff(m, n))
	}
}
