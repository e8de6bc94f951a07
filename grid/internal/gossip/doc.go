// Package gossip finds out at which addresses the other members are. It is the only
// importer of memberlist.
//
// It decides nothing. What it learns are hints: the address of an incarnation, and
// whether the incarnation was heard of lately. A suspicion never removes an address.
// The names in memberlist are incarnations, so a member that rejoins without its data
// has a new name.
package gossip
