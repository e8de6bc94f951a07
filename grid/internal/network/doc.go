// Package network is a member's way to the network: the one listener, the UDP
// socket on the same port, and the connections it opens. Tests can break it.
package network
