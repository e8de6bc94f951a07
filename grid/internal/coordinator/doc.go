// Package coordinator brings a member into a cluster and keeps the cluster as
// it should be.
//
// A member passes through these states, each remembered in member.json:
//
//	        sees a formed cluster
//	blank -------------------------------------------> formed
//	  | \                                                ^ ^
//	  |  \ gives itself to a founder                     | |
//	  |   `-----------------------------> given ---------' |
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
