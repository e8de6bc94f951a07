package config

import "time"

// Option changes what [Follow] does. The zero Option changes nothing.
type Option struct {
	set func(*options)
}

// options are what the options ask for together.
type options struct {
	initial   any // T
	validate  any // func(T) error
	file      string
	wait      time.Duration
	toDefault bool // what is deleted is the default
}

const defaultWait = 5 * time.Second

// Default is the value while there is neither one in the grid nor in the [File]. Its type is
// that of the values, or Follow returns [quorate.ErrInvalid].
func Default[T any](v T) Option { return Option{func(o *options) { o.initial = v }} }

// Validate checks each value before it is taken or published; one with an error is not. Its
// type is that of the values, or Follow returns [quorate.ErrInvalid]. It must not change
// what the value points to, nor keep it.
func Validate[T any](f func(T) error) Option { return Option{func(o *options) { o.validate = f }} }

// File keeps the last good value in a file, for a start while the grid is away: it is written
// after each value that was taken, as a whole or not at all, readable for the user only.
// Each value that is followed needs a file of its own, in each process.
func File(path string) Option { return Option{func(o *options) { o.file = path }} }

// Wait is how long Follow waits for the grid before it begins with the file's value or the
// default; 5 s without it.
func Wait(d time.Duration) Option { return Option{func(o *options) { o.wait = d }} }

// DeletedIsDefault takes the [Default] when the value in the grid is deleted or destroyed.
// Without it the last good value stays.
func DeletedIsDefault() Option { return Option{func(o *options) { o.toDefault = true }} }
