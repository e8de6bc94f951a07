// Package dservice is a register of services: which instances of a service there are,
// where they listen, and whether they are well.
//
//	payments := dservice.New(c, "payments")
//	reg, err := payments.Register(ctx,
//		dservice.Instance{Address: "10.0.0.5", Port: 8080, Tags: []string{"v2"}},
//		dservice.Check(ping, 5*time.Second))
//	defer reg.Deregister(ctx)
//
//	instances, view, err := payments.List(ctx, dservice.Tag("v2"))
//	for change, err := range payments.Watch(ctx, dservice.After(view)) { ... }
//
//	p, err := payments.Provider(ctx, dservice.RoundRobin())
//	defer p.Close()
//	in, err := p.Pick()
//
// # Registrations
//
// An instance is bound to the session of the client that registered it: if the process
// dies, the instance is gone when the session's time to live has passed. After a lost
// session a process that lives registers again by itself. If an ID is registered twice, the
// last one wins, and the earlier one is told (see [Registration.Err]) and stays away: so a
// process that is restarted never meets its own old instance, and a process that is late to
// die does not remove its successor. With [Permanent] an instance is bound to no session.
//
// # Health
//
// An instance is passing, warning or critical, as it says itself: by [Registration.Passing]
// and the like, or by a [Check] that runs in the process of the registration. Members of
// the grid dial nobody. With [TTL] an instance that has not reported for so long becomes
// critical, and with [RemoveCritical] one that was critical for so long is removed; both
// times are log time, which stands still while there is no leader.
//
// [Service.Drain] takes an ID out of use, whatever its health, for example for maintenance.
// That outlives registrations, and only another call takes it off.
//
// # Views
//
// Everybody sees the same sequence of views: a view is the version of a state of the
// partition in which the service lies. Two lists of one view are equal, and [Service.Watch]
// goes on from a list without a gap. A [Provider] follows the service, and serves from
// its last view while the grid is away; [Provider.Age] says how old that is.
//
// This is what Curator's x-discovery, etcd's endpoints and Consul's catalog are used for. A
// service has at most [MaxInstances] instances, and as many drained IDs.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package dservice
