// Package gossip tells a member where the others are. It is the only importer
// of memberlist.
//
// It decides nothing: what it learns are hints, an address for an incarnation
// and whether the incarnation was heard of lately. A suspicion never takes an
// address away. Names are incarnations, so a member that returns without its
// data is a new name.
package gossip
