// Command compare measures Quorate beside other systems, in one run on one machine.
//
// It starts three processes of each system over loopback, keeps a number of operations
// in flight against each in turn, and prints the ratio of each pair of runs. A ratio of
// two runs that followed each other says something on a shared machine, where a single
// number says little.
//
//	go run . -systems quorate,etcd -in-flight 1,64,256 -rounds 5 -duration 5s
//
// It is a module of its own, so that no other system becomes a dependency of Quorate.
// Systems:
//
//	quorate  three members of the command in this repository, durability disk
//	etcd     three members of go.etcd.io/etcd/server/v3/embed, each a process of this command
//
// All of them sync to disk before they acknowledge, and reads are linearizable.
package main
