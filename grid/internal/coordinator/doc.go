// Package coordinator brings a member into a cluster and keeps the cluster as it should
// be. It wires four controllers, and runs a loop for each, so that a slow question of one
// holds up no other: formation, rejoin, placement and leadership. They share what package
// membership knows, and answer what other members ask (package peers).
//
// The scripts of testdata run whole coordinators in virtual time, on a grid in memory
// (package coordinatortest).
//
// A member passes through these states, each remembered in member.json:
//
//	        sees a formed cluster
//	blank -------------------------------------------> formed
//	  | \                                                ^ ^
//	  |  \ enlists with a founder                      | |
//	  |   `--------------------------> enlisted --------' |
//	  | sees the members it expects,        |  sees "formed" in the log
//	  | and is the lowest of them           |              |
//	  `--> founding ------------------------+--------------'
//	           \                            | released
//	            `--- meets a formed cluster, or a lower founder ---> blank, a new incarnation
//
// "Formed" is an entry in the log of the system group. Before it nothing was
// acknowledged to anybody, so everything may be undone; after it nothing is.
//
// Every step is idempotent and looks at what there is before it acts, so a
// crash anywhere is repaired by starting again.
package coordinator
