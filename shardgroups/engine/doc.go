// Package engine configures and opens dragonboat, the Raft engine: with its log on
// disk or in memory, under another host name or path than before, with its logs in
// ours. The benchmark's baseline measures the same engine without the rest of
// Quorate.
package engine
