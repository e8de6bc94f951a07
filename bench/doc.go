// Package bench measures a grid: YCSB-shaped workloads on maps, and workloads
// on counters, queues, semaphores and locks.
//
// A closed loop keeps a number of operations in flight and shows what the grid
// can do. An open loop (Config.Rate) starts operations on a schedule, whatever
// the grid does, and counts latency from the moment an operation was due, so
// that a pause of the grid is not hidden by the load pausing with it.
//
// The workloads:
//
//	a          50 % put, 50 % get
//	b           5 % put, 95 % get
//	c         100 % get
//	f          50 % get, 50 % update (read, modify, write if unchanged)
//	put       100 % put
//	counter   add 1
//	queue     put, then take
//	semaphore acquire one permit, then release it
//	lock      lock, then unlock
//	rwlock    lock to read, then unlock; one of ten to write
//	service   register an instance, list the service of 20 others, then deregister it
package bench
