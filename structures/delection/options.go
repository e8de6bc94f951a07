package delection

import (
	"time"

	"github.com/quorate/quorate/structures"
)

// Version numbers the states of the partition of the election.
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

// Seen is [structures.Seen]: v gets the version of the state that was read.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// WriteOption changes how an operation that never waits is done.
type WriteOption = structures.WriteOption

// CampaignOption changes how a client campaigns. The zero CampaignOption changes nothing.
type CampaignOption struct {
	what     campaignOption
	priority int
	note     string
	wait     structures.WaitOption
}

type campaignOption uint8

const (
	optionPriority campaignOption = iota + 1
	optionNote
	optionWait
)

// Priority is that of the candidate, within 32 bits; 0 without this option. Of the
// candidates that wait the one with the highest is elected.
func Priority(n int) CampaignOption { return CampaignOption{what: optionPriority, priority: n} }

// Note says who or why, human-readable, in at most [structures.MaxNote] bytes.
// [Election.Leader], [Election.Candidates] and [Election.Inspect] show it.
func Note(text string) CampaignOption { return CampaignOption{what: optionNote, note: text} }

// Wait is [structures.Wait]: the campaign waits for d at most, with 0 not at all; without
// it until the context ends. [Election.Run] takes no notice of it.
func Wait(d time.Duration) CampaignOption {
	return CampaignOption{what: optionWait, wait: structures.Wait(d)}
}

// campaignWith returns what options ask for; of two that contradict the later one holds.
func campaignWith(opts []CampaignOption) (c campaign, wait structures.WaitBound) {
	wait = structures.WaitWith(nil)
	for _, o := range opts {
		switch o.what {
		case optionPriority:
			c.priority = int64(o.priority)
		case optionNote:
			c.note = o.note
		case optionWait:
			wait = structures.WaitWith([]structures.WaitOption{o.wait})
		}
	}
	return c, wait
}

// RevokeOption changes how [Election.Transfer] and [Election.ForceResign] take the
// leadership away.
type RevokeOption = structures.RevokeOption

// Grace is [structures.Grace]: how long the leader may go on; without it
// [structures.DefaultGrace].
func Grace(d time.Duration) RevokeOption { return structures.Grace(d) }

// AskOnly is [structures.AskOnly]: the leader is asked to resign, and decides itself.
func AskOnly() RevokeOption { return structures.AskOnly() }

// Reason is [structures.Reason]: why, for the leader and for [Election.Inspect].
func Reason(text string) RevokeOption { return structures.Reason(text) }
