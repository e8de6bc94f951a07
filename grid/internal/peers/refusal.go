package peers

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/protocol"
)

// Refusal is the definite answer of a member that does not do what it was asked.
type Refusal struct {
	Code   protocol.Code
	Detail string
	Leader protocol.MemberID // who can do it, if Code is CodeNotLeader and that is known
}

func (r *Refusal) Error() string { return r.Detail }

// Refuse returns a Refusal.
func Refuse(code protocol.Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// ErrAnotherCluster refuses what is meant for the members of another cluster.
var ErrAnotherCluster = Refuse(protocol.CodeWrongGrid, "another cluster")

// IsRefused reports whether a member has refused a question with a code.
func IsRefused(err error, code protocol.Code) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Code == code
}

// IsUnknown reports whether a member does not know a question: it is of an older
// version.
func IsUnknown(err error) bool { return IsRefused(err, protocol.CodeUnsupported) }
