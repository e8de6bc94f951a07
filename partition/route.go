package partition

import (
	"bytes"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/quorate/quorate/protocol"
)

// Of returns the partition of a key in the structure called name. The key is as
// structures.AppendKey encoded it, its kind first; a structure without keys
// passes nil. Fewer than one partition counts as one.
func Of(partitions int, name string, key []byte) protocol.PartitionID {
	if partitions <= 1 {
		return 0
	}
	return protocol.PartitionID(hash(name, key) % uint64(partitions))
}

func hash(name string, key []byte) uint64 {
	if tag, ok := nameTag(name); ok {
		return xxhash.Sum64String(tag)
	}
	if len(key) == 0 {
		return xxhash.Sum64String(name)
	}
	if key[0] == protocol.KeyText {
		if tag, ok := keyTag(key[1:]); ok {
			return xxhash.Sum64(tag)
		}
	}
	return xxhash.Sum64(key[1:])
}

// nameTag returns the first tag in s that is not empty.
func nameTag(s string) (string, bool) {
	for {
		_, after, found := strings.Cut(s, "{")
		if !found {
			return "", false
		}
		tag, rest, found := strings.Cut(after, "}")
		if !found {
			return "", false
		}
		if tag != "" {
			return tag, true
		}
		s = rest
	}
}

// keyTag is nameTag for bytes.
func keyTag(b []byte) ([]byte, bool) {
	for {
		_, after, found := bytes.Cut(b, []byte("{"))
		if !found {
			return nil, false
		}
		tag, rest, found := bytes.Cut(after, []byte("}"))
		if !found {
			return nil, false
		}
		if len(tag) != 0 {
			return tag, true
		}
		b = rest
	}
}
