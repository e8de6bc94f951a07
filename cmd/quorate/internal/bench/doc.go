// Package bench has the commands that measure: bench run, compare, full, hostile, overload,
// recovery.
package bench
