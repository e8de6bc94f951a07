// Package dref is a distributed reference: one value of any type, with a version.
//
//	limits := dref.New[Limits](c, "{app}limits")
//	err := limits.Set(ctx, Limits{Rate: 100})
//	l, err := limits.Update(ctx, func(l Limits, exists bool) (Limits, error) { l.Rate *= 2; return l, nil })
//
// A reference has no value until it is first set, and none after Delete. Every operation
// is linearizable, except reads with the option Stale, and every mutation is applied
// exactly once. Each change gets a version, which is larger than all before it, also over a
// deletion and over Destroy.
//
// Replace changes the value only if it has the version that was read: nothing that happened
// in between is overwritten, not even by a value that has come back. CompareAndSet compares
// the values themselves, as they are encoded.
//
// With the setting Keep the values before the present one are kept, up to a hundred: History
// lists them, and Rollback sets one of them again, as a new version. Watch yields the value
// now and then the newest; package config builds settings of an application on it.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package dref
