// Package config follows settings of an application that are kept in the grid.
//
//	v, err := config.Follow(ctx, config.Ref(dref.New[Limits](c, "{app}limits")),
//		config.Default(Limits{Rate: 100}), config.Validate(Limits.Check),
//		config.File("/var/lib/app/limits.cbor"), config.Wait(3*time.Second))
//	l := v.Load() // *Limits: the last good value, without I/O
//
// The value is that of a reference ([Ref]), that of one key of a map ([Key]), or a struct with
// a key for each field ([Prefix]). All processes that follow it get each change, in the time
// that a watch takes; a process that is slow, or was away, gets the newest.
//
// A value that cannot be decoded, or that [Validate] refuses, never replaces a good one: it
// is reported, and a later good one is taken. Versions never go back while the grid is the
// same one. If the grid cannot be reached when the process starts, the value is that of the
// [File], which has the last good one, or the [Default]; it is followed from then on. If the
// grid goes away later, the last good value stays, and [State].Confirmed says since when
// nothing was heard: what age is too old is for the application to decide.
package config
