// Package rejoin has the replicas run on this member that the cluster has agreed. After a
// restart it verifies that the data is what it was before any replica starts, since one that
// has forgotten what it acknowledged must never vote again; a member that has lost its data
// joins its cluster as a new incarnation. While the disk has no free space it stops replicas
// that their groups can do without.
package rejoin
