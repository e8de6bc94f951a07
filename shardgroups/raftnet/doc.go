// Package raftnet carries Raft messages between members, and derives from them what
// other members have on disk, and whether their processes have ended.
//
// A [Transport] is dragonboat's transport on the member's one port. It keeps its
// connections usable when a member starts again, keeps two replicas from
// campaigning against each other (the pre-vote filter), notes what other replicas
// have on disk ([ObservedProgress]), and reports when the process of another member
// has ended, upon which a [Campaigner] campaigns early. A [Registry] knows which
// member has a replica, and the member's address.
//
// The package knows nothing of a group's state; see [Groups] for what it needs of
// the member.
package raftnet
