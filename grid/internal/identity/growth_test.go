package identity

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
)

func fullMember() Member {
	return Member{
		Format: Format, Name: "n2", Incarnation: protocol.UUID{2}, Starts: 3, Cluster: protocol.UUID{3}, ClusterName: "c",
		Founder: protocol.UUID{4}, FounderAddress: "10.0.0.1:7170", Recovered: protocol.UUID{6}, Formed: true, Durability: "disk",
		Partitions: 271, Groups: 3, Replicas: 3, Level: 1,
		Started: []Replica{{Group: 1, Replica: 2, NonVoting: true, Started: true, Alone: true}},
		Peers:   []Peer{{protocol.UUID{5}, "10.0.0.2:7170", true, Run{2, 9}}},
	}
}

// unsealed returns the file of m without its checksum.
func unsealed(m *Member) string {
	b, err := json.MarshalIndent(newFile(m), "", "  ")
	if err != nil {
		panic(err)
	}
	return string(b) + "\n"
}

// later returns the file as a later version writes it: with a key more in each
// object.
func later(file, key, value string) string {
	return strings.NewReplacer(
		"{\n  ", fmt.Sprintf("{\n  %q: %s,\n  ", key, value), // the file
		"{\n      ", fmt.Sprintf("{\n      %q: %s,\n      ", key, value), // in an array
	).Replace(file)
}

// TestMemberFileOfOtherVersions: keys of a later version are skipped, and those that
// an earlier one does not have are zero.
func TestMemberFileOfOtherVersions(t *testing.T) {
	want := fullMember()
	for _, value := range []string{"null", "1.5e300", `"text"`, "true", "[[], {}]", `{"format": 9, "name": []}`} {
		b := later(unsealed(&want), "zone", value)
		if n := strings.Count(b, `"zone"`); n != 3 {
			t.Fatalf("%d keys more, want 3:\n%s", n, b)
		}
		got, err := decode([]byte(sealed(b)))
		if err != nil {
			t.Fatalf("with %s: %v", value, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("with %s:\n%s", value, diff)
		}
	}
	earlier := "{\n  \"format\": 2,\n  \"incarnation\": \"" + want.Incarnation.String() + "\"\n}\n"
	got, err := decode([]byte(sealed(earlier)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Member{Format: Format, Incarnation: want.Incarnation}, got); diff != "" {
		t.Errorf("without what may be missing:\n%s", diff)
	}
	if _, err := decode([]byte(later(sealed(unsealed(&want)), "zone", "1"))); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a key that the checksum does not cover: %v", err)
	}
}

// FuzzMemberFileOfOtherVersions has old files for new readers, and new files for
// old ones.
func FuzzMemberFileOfOtherVersions(f *testing.F) {
	m := fullMember()
	b := unsealed(&m)
	f.Add(b, "zone", "1", uint16(0))
	f.Add(b, "Zone", `{"a": [null]}`, uint16(1))
	f.Add(b, "voter", "[]", uint16(0x80))
	f.Fuzz(func(t *testing.T, b, key, value string, without uint16) {
		if !strings.HasSuffix(b, "\n}\n") {
			return
		}
		m, err := decode([]byte(sealed(b)))
		if err != nil {
			return
		}
		// What it says, in today's form, with a key more.
		if isNew(key) && json.Valid([]byte(value)) {
			got, err := decode([]byte(sealed(later(unsealed(&m), key, value))))
			if err != nil || !cmp.Equal(m, got) {
				t.Fatalf("with %q: %s: %v\n%s", key, value, err, cmp.Diff(m, got))
			}
		}
		// With keys less: those may be missing that are written only if they say something.
		old := m
		drop(without, &old.Cluster, &old.Founder, &old.Recovered)
		drop(without>>3, &old.ClusterName, &old.FounderAddress, &old.Durability)
		drop(without>>6, &old.Partitions, &old.Groups, &old.Replicas, &old.Level)
		drop(without>>10, &old.Started)
		drop(without>>11, &old.Peers)
		got, err := decode([]byte(sealed(unsealed(&old))))
		if err != nil || !cmp.Equal(old, got) {
			t.Fatalf("without %b: %v\n%s", without, err, cmp.Diff(old, got))
		}
	})
}

// drop sets to zero what has a bit.
func drop[T any](bits uint16, fields ...*T) {
	for i, p := range fields {
		if bits>>i&1 != 0 {
			*p = *new(T)
		}
	}
}

// isNew reports whether no object of the file has the key, and it is text as it is.
func isNew(key string) bool {
	known, _ := json.Marshal(newFile(&Member{
		Cluster: protocol.UUID{1}, ClusterName: "c", Founder: protocol.UUID{1}, FounderAddress: "a", Recovered: protocol.UUID{1},
		Durability: "d", Partitions: 1, Groups: 1, Replicas: 1, Level: 1,
		Started: []Replica{{NonVoting: true, Alone: true}}, Peers: []Peer{{Voter: true, Run: Run{1, 1}}},
	}))
	quoted, err := json.Marshal(key)
	return err == nil && string(quoted) == fmt.Sprintf("%q", key) && !strings.EqualFold(key, "checksum") &&
		!strings.Contains(strings.ToLower(string(known)), strings.ToLower(string(quoted))+":")
}
