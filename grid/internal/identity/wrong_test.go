package identity

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestWrongKeys: a key of member.json that has a value of another type is refused, by
// its name and with the way out, whatever else is in the file.
func TestWrongKeys(t *testing.T) {
	m := fullMember()
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(unsealed(&m)), &keys); err != nil {
		t.Fatal(err)
	}
	if len(keys) < 16 {
		t.Fatalf("%d keys", len(keys))
	}
	for key, value := range keys {
		wrong := `{"zone": 1}`
		if key == "format" {
			continue // looked at by itself
		}
		keys[key] = json.RawMessage(wrong)
		b, err := json.MarshalIndent(keys, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		keys[key] = value
		_, err = decode([]byte(sealed(string(b) + "\n")))
		if err == nil || !strings.Contains(err.Error(), "."+key+" of type") || !strings.HasSuffix(err.Error(), "restore it, or start with an empty directory") {
			t.Errorf("%s: %v", key, err)
		}
	}
}
