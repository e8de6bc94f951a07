package dref

import "github.com/quorate/quorate/structures"

// Version numbers the values of a reference, and the states of its partition.
type Version = structures.Version

// Option changes what [New] returns.
type Option = structures.HandleOption

// Codec is [structures.WithCodec]: how values become bytes; the default is
// [structures.CBOR].
func Codec(c structures.Codec) Option { return structures.WithCodec(c) }

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Seen is [structures.Seen]: v gets the version of the state that was read, which is that
// of the reference's partition. The version of the value is [Entry].Version.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// WriteOption changes how the reference is written.
type WriteOption = structures.WriteOption

// IfHeld is [structures.IfHeld]: the reference is written only if h is held.
func IfHeld(h *structures.Held) WriteOption { return structures.IfHeld(h) }

// Setting is one of the settings of a reference: see [Ref.Configure].
type Setting = structures.Setting

// MaxKept is the largest number of values that [Keep] keeps.
const MaxKept = 100

// Keep keeps the last n values before the present one, for [Ref.History] and
// [Ref.Rollback]; n is 0 to [MaxKept], and 0 without the setting. A value that is replaced or
// deleted is kept; those set before the setting are not there.
func Keep(n int) Setting {
	return Setting{Name: keepSetting.Name, Value: structures.SettingValue{Int: int64(n)}}
}
