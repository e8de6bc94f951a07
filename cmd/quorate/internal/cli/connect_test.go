package cli

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/quorate/quorate"
)

// TestConnection_Hint: who has named no member is told how, if none is at the default.
func TestConnection_Hint(t *testing.T) {
	refused := &quorate.Error{Op: "dial", Cause: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
	for _, test := range []struct {
		endpoints []string
		err       error
		want      bool
	}{
		{[]string{defaultEndpoint}, refused, true},
		{[]string{"10.0.0.1:7170"}, refused, false},
		{[]string{defaultEndpoint, "10.0.0.1:7170"}, refused, false},
		{[]string{defaultEndpoint}, quorate.ErrInvalid, false},
	} {
		err := (&Connection{Endpoints: test.endpoints}).hint(test.err)
		if got := strings.Contains(err.Error(), "--endpoints"); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%v: %v", test.endpoints, err)
		}
	}
	if err := (&Connection{Endpoints: []string{defaultEndpoint}}).hint(nil); err != nil {
		t.Error(err)
	}
}
