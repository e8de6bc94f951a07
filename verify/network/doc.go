// Package network is what the members of a grid of processes and their clients send each
// other through, so that it can be cut, delayed, lost, doubled, reordered and damaged:
// network namespaces joined by a switch in this process, or proxies before each member.
package network
