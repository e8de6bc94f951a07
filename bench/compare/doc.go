// Command compare measures Quorate beside other systems, in one run on one machine.
//
// It starts three processes of each system over loopback, does the same with each in
// turn, and prints the ratio of each pair of runs. A ratio of two runs that followed each
// other says something on a shared machine, where a single number says little.
//
//	go run . -systems quorate,etcd -measure load -in-flight 1,64,256 -rounds 5 -duration 5s
//	go run . -measure watch,events -watchers 1,100,10000
//	go run . -measure lock,handover -sessions 1,8,64 -locks 1,1000
//	go run . -measure takeover -ttl 10s
//	go run . -systems quorate,etcd,curator -measure lock,handover
//
// What is measured:
//
//	load      puts and gets of many keys, a number of them in flight
//	watch     one put after the other, a hundred a second: the time from before the put
//	          until a watcher of the key has the event
//	events    puts of one key as fast as 16 writers can: the events that its watchers get,
//	          in a second
//	stalled   puts of one key as fast as 16 writers can, without watchers and with many
//	          that stop to read at their first event
//	lock      sessions that lock and unlock, one lock or each one of many
//	handover  sessions that all want one lock: the time from before the unlock until the
//	          next one has it
//	takeover  the process that holds a lock is killed: the time until the next one has it
//
// It is a module of its own, so that no other system becomes a dependency of Quorate.
// Systems:
//
//	quorate  three members of the command in this repository, durability disk
//	etcd     three members of go.etcd.io/etcd/server/v3/embed, each a process of this command
//	curator  three members of Apache ZooKeeper, and the recipes of Apache Curator as clients;
//	         needs java (17 or later) and mvn, which fetches both
//
// All of them sync to disk before they acknowledge, and reads are linearizable. Those of
// ZooKeeper come after a sync, which is as near as it gets: its leader answers that without
// asking the others whether it still is the leader.
//
// Curator's clients are in one process of Java, which is sent each request and sends each
// answer over a pipe (curator/Bridge.java). What that adds is measured by
//
//	go test . -run '^$' -bench Bridge
//
// Locks are InterProcessMutex. Watches are CuratorCache: ZooKeeper notifies of a change
// without its value, which the cache reads, so that events counts the values that it saw,
// fewer than the puts. What its stalled watchers have not taken waits in the client.
package main
