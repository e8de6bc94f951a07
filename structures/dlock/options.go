package dlock

import (
	"time"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delay"
)

// LockOption changes how the lock is acquired.
type LockOption = structures.LockOption

// Wait is [structures.LockWait]: the call waits for d at most, with 0 not at all; without it
// until the context ends.
func Wait(d time.Duration) LockOption { return structures.LockWait(d) }

// Note is [structures.Note]: who holds the lock and what for, human-readable.
func Note(text string) LockOption { return structures.Note(text) }

// UnlockOption changes how [Lock.ForceUnlock] takes the lock away.
type UnlockOption = structures.RevokeOption

// Grace is [structures.Grace]: how long the holder may keep the lock, to end its work;
// without it [structures.DefaultGrace].
func Grace(d time.Duration) UnlockOption { return structures.Grace(d) }

// Now takes the lock away at once, although its holder does not know yet: then only tokens
// and IfHeld protect what the lock protects.
func Now() UnlockOption { return structures.Grace(0) }

// AskOnly is [structures.AskOnly]: the holder is asked to release the lock.
func AskOnly() UnlockOption { return structures.AskOnly() }

// Reason is [structures.Reason]: why, for the holder and for [Lock.Inspect].
func Reason(text string) UnlockOption { return structures.Reason(text) }

// Setting is a setting of a lock: see [Lock.Configure].
type Setting = structures.Setting

// Delay keeps the lock from everybody for a while after a hold that was not released, because
// its session ended or it was revoked: 0, the default, to [MaxDelay]. What a lost holder has
// sent, and what it sends before a context stops it, arrives while nobody has the lock.
func Delay(d time.Duration) Setting { return delay.Setting(d) }
