// Package drate is a distributed rate limit: so many tokens a time for all clients of the
// grid together, and a burst.
//
//	mails := drate.New(c, "mails")
//	err := mails.Configure(ctx, drate.Rate(100, time.Second), drate.Burst(200))
//	...
//	ok, err := mails.Allow(ctx, 1) // false: not now
//	err = mails.Wait(ctx, 1)       // sleeps until the token is there
//
// It is the generic cell rate algorithm (ITU-T I.371), the form of a token bucket that keeps
// one time, in integers of log time: from any moment to any later one the tokens granted are
// at most the burst and what the rate gives in between. Log time is never faster than real
// time, and stands while the group has no leader. So no clock that jumps, no change of the
// leader and no outage grants more. A group that has lost its data in memory has lost the
// settings with it: every call returns [ErrNotConfigured], and configured again it grants one
// burst more.
//
// Each Allow and Wait is one logged step, so a limit is for hundreds or thousands of
// decisions a second. Every operation is linearizable, and every mutation is applied exactly
// once. If the outcome of an Allow or a Wait is unknown, its tokens may be spent.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package drate
