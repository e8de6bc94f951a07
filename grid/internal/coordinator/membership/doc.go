// Package membership is what a member knows: of itself, of what its cluster has
// agreed, of where the other members are and how they are. The controllers of the
// coordinator share it. Its interfaces are all that they see of Raft, of the gossip
// and of the network, so that their scripts run in memory and in virtual time.
package membership
