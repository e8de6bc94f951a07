// Package ports finds ports for members that are stopped and started again at
// their address.
//
// A port that the system chooses is one of those that it gives to outgoing
// connections, too. While a member is down somebody's connection may take its
// port; on a machine that opens some thousands a minute, as tests of grids do,
// one does. Nor may another process choose it meanwhile, as the tests of two
// packages that run side by side would: each process has ports of its own.
package ports
