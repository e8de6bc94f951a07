// Package watch is the receiving half of a watch: what makes of the frames that members
// send the events that an application sees, whatever connections they come on.
//
// A [Stream] is one watch. Whoever drives it, a client with its connections, registers its
// partitions with the leaders of their groups, one [Registration] a group, and hands on
// what comes. The Stream knows two positions of each partition: that of what was received,
// from which a new registration goes on, and that of what was yielded, which is the
// application's cursor (WATCH-19). It yields whole mutations (WATCH-18), and gives credit
// back as events are yielded, so that a slow application holds no more than the window.
package watch
