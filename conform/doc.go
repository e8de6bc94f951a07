// Package conform says whether a client in any language keeps the rules of the
// protocol. It serves one client under test as the members of a grid would, but by
// a script: it cuts connections in the middle of a message, swallows requests and
// replies, answers every class of code, sends the client elsewhere, ends sessions,
// and watches what the client makes of it. What its members answer comes from the
// very state that a group of a grid replicates (shardgroups/groupstate), so that a
// call that is carried out twice is counted twice.
//
// The client performs simple tasks, which a Driver has it do; docs/protocol.md,
// section Conformance, lists them.
package conform
