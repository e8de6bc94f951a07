// Package network is a member's way to the network: the one listener, the UDP
// socket on the same port, and the connections it opens. A Fabric has the
// networks of several members in one process, which a test can break.
package network
