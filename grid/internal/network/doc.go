// Package network is a member's access to the network: the one listener, the UDP socket
// on the same port, and the connections that the member opens. A Fabric connects the
// networks of several members in one process, so that a test can break the links
// between them.
package network
