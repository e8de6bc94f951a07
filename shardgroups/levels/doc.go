// Package levels writes what is replicated in the shape of a level of the state.
//
// What a log entry or a snapshot holds grows from one version to the next. Readers
// that skipped what they do not know would let replicas differ, so the shape follows
// the level of the state that the log or snapshot belongs to, which is raised by a
// logged command once every member understands it. Each entry and snapshot says at
// which level it is written. A reader knows all levels up to its own: it reads each in
// that level's shape, and takes what a lower level did not write as zero. Of a higher
// one it reads nothing, and says what to do (TooNew).
//
// A struct is a CBOR array of its fields, as many as its level has. A new field is the
// last one of its struct, and has a tag with its level:
//
//	type Member struct {
//		ID   protocol.MemberID
//		Name string
//		Zone string `level:"2"`
//	}
//
// That is all there is to do: Append leaves it out, and Decode does not expect it, in
// what is written at level 1. What sets a field looks at the level of the state first:
// nothing keeps what it sets too early.
package levels
