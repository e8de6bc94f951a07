package structures

import (
	"strings"

	"github.com/quorate/quorate/protocol"
)

// Listed is a structure as one partition lists it: the part that lies there.
type Listed struct {
	Name   string
	Length int64  // in the Unit of its kind
	Bytes  uint64 // of its keys and values
}

// ListCall returns the call that lists the structures of a kind in a partition: at
// most so many from a name on, in the order of their names. It is a read.
func ListCall(k *Kind, p protocol.PartitionID, from string, most int) Call {
	body := protocol.AppendUint(protocol.AppendArray(nil, 3), uint64(k.ID))
	body = protocol.AppendUint(protocol.AppendString(body, from), uint64(most))
	return Call{
		Kind: protocol.KindControl, Op: protocol.OpNames, Verb: "list", Label: k.Name, Name: "",
		Partition: p, Flags: protocol.FlagRead, Body: body,
	}
}

// ReadListed reads the answer to a ListCall. next is the name from which on there are
// more, empty if there are none.
func ReadListed(body []byte) (list []Listed, next string, err error) {
	r := protocol.NewReader(body)
	n := r.ArrayLen()
	if n%3 != 1 {
		r.Fail()
	}
	next = strings.Clone(r.String())
	for range n / 3 {
		l := Listed{Name: strings.Clone(r.String())}
		l.Length, l.Bytes = r.Int(), r.Uint()
		if r.Err() != nil {
			break
		}
		list = append(list, l)
	}
	return list, next, r.Done()
}
