// Package server is the one listener of a member: it accepts connections,
// learns their purpose from the preface, and serves those of clients and of
// members itself.
//
// A client connection has two goroutines. The reader decodes requests and
// submits them to their groups; it never waits for an answer. A group answers
// by appending the encoded reply to the connection's pending buffer, which the
// writer swaps and writes whenever there is something in it: so replies gather
// into one write under load, and a lone reply leaves at once.
//
//	conn -> reader -> Group.Submit ... log, apply ... reply -> pending -> writer -> conn
//
// Everything is bounded: bytes and time before the handshake is done, requests
// in flight (then reading stops), bytes on the way out (then the connection is
// closed), connections.
package server
