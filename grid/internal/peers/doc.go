// Package peers carries what the members of a grid ask each other: the messages of
// docs/members.md, and the client that asks over one kept connection to each member.
// Package server receives the questions, package coordinator answers them.
package peers
