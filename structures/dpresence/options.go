package dpresence

import (
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/roster"
)

// Version numbers the states of the partition of the group: a view.
type Version = structures.Version

// HandleOption changes the handle of a group.
type HandleOption = structures.HandleOption

// Codec is [structures.WithCodec]: how payloads become bytes.
func Codec(c structures.Codec) HandleOption { return structures.WithCodec(c) }

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// JoinOption changes how [Group.Join] joins. The zero JoinOption changes nothing.
type JoinOption struct {
	id        string
	permanent bool
}

// ID sets the ID of a member, for example the name of its host: 1 to 255 bytes. Without it
// a member has a random one.
func ID(id string) JoinOption { return JoinOption{id: id} }

// Permanent lets a member stay when its process ends, until it leaves or is removed. If its
// group loses its data the process, if it lives, joins again.
func Permanent() JoinOption { return JoinOption{permanent: true} }

// WatchOption changes where [Group.Watch] begins. The zero WatchOption changes nothing.
type WatchOption = roster.WatchOption

// WithCurrent begins with the members that are there, as Current, then Synced, then what
// changes.
func WithCurrent() WatchOption { return roster.WithCurrent() }

// After begins behind a view, which [Group.List] returns: there is neither a gap nor a
// duplicate between the two.
func After(view Version) WatchOption { return roster.After(view) }
