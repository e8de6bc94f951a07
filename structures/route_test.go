package structures

import (
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestRoute_Partition: what a request names decides where it belongs, and there it
// fits.
func TestRoute_Partition(t *testing.T) {
	of := func(key []byte) protocol.PartitionID {
		if key == nil {
			return 100
		}
		return protocol.PartitionID(key[0])
	}
	array := func(items ...any) []byte {
		b := protocol.AppendArray(nil, len(items))
		for _, it := range items {
			switch v := it.(type) {
			case int:
				b = protocol.AppendInt(b, int64(v))
			case string:
				b = protocol.AppendString(b, v)
			case []byte:
				b = protocol.AppendBytes(b, v)
			}
		}
		return b
	}
	key := func(n byte) []byte { return []byte{n} }
	for what, c := range map[string]struct {
		route Route
		body  []byte
		want  protocol.PartitionID
		fits  bool
	}{
		"by name":            {Route{}, array(5, 6), 100, true},
		"by name, malformed": {Route{}, []byte{0xff}, 100, true},
		"a part":             {RoutePart(), array(key(3)), 7, true},
		"a key":              {RouteKey(0), array(key(3), key(4), 5), 3, true},
		"a later key":        {RouteKey(2), array(1, "x", key(4)), 4, true},
		"keys":               {RouteKeys(1, 2), array(9, key(5), "v", key(5), "w"), 5, true},
		"keys of two":        {RouteKeys(0, 1), array(key(5), key(6)), 5, false},
		"no keys":            {RouteKeys(1, 2), array(9), 7, true},
		"no body":            {RouteKey(0), nil, 7, true},
		"a key that is none": {RouteKey(0), array(5), 7, true},
	} {
		got := c.route.Partition(7, c.body, of)
		if got != c.want {
			t.Errorf("%s: partition %d, want %d", what, got, c.want)
		}
		if fits := c.route.Fits(got, c.body, of); fits != c.fits {
			t.Errorf("%s: fits %t", what, fits)
		}
	}
}
