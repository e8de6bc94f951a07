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
//
// All of them sync to disk before they acknowledge, and reads are linearizable.
package main
