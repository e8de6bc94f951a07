// Package protocol is the language of the wire: frames, CBOR, messages and
// error codes.
//
// A connection starts with an eight-byte preface that names its purpose. A
// client connection then exchanges frames: a big-endian uint32 length and one
// CBOR array whose first element is the message type. The hot messages
// (Request, Reply) have hand-written encoders that emit the same bytes as
// fxamacker/cbor in its core deterministic mode; a differential fuzz test holds
// them to it. docs/protocol.md has the CDDL.
//
// Encoders append to dst. Decoders are strict and bounded, and what they return
// aliases the input.
package protocol
