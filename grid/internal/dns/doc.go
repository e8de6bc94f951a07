// Package dns answers questions for the instances of services over DNS: SRV, A and AAAA of
// [TAG.]NAME.service.quorate. It only reads, and knows no other names.
//
// The instances of a service that is asked for come from a mirror, which one watch keeps up
// to date; it is left some minutes after the last question. So an answer costs the grid
// nothing, and is given while the grid is away, too.
//
// # Rules
//
// The rules have names (DNS-1 and so on) in docs/rules.md.
package dns
