package structures

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

const (
	// DefaultGrace is how long a holder may keep what was revoked, without [Grace].
	DefaultGrace = 10 * time.Second
	// MaxGrace is the longest grace.
	MaxGrace = 24 * time.Hour
)

// RevokeOption changes how [Handle.Revoke] takes a hold away. The zero RevokeOption
// changes nothing.
type RevokeOption struct {
	grace   int64
	graced  bool
	reason  string
	because bool
}

// Grace is how long the holder may keep what is revoked, to end its work: at most
// [MaxGrace], without this option [DefaultGrace]. With 0 the hold ends at once, although
// its holder does not know yet: then only tokens protect the resource.
func Grace(d time.Duration) RevokeOption {
	o := RevokeOption{grace: graceInvalid, graced: true}
	if d >= 0 && d <= MaxGrace {
		o.grace = int64((d + time.Millisecond - 1) / time.Millisecond)
	}
	return o
}

// AskOnly asks the holder to release the hold ([Held.Asked]), and takes nothing.
func AskOnly() RevokeOption { return RevokeOption{grace: graceAsk, graced: true} }

// Reason says why, human-readable, in at most [MaxNote] bytes. The holder and
// [Handle.Inspect] see it, unless the grace is 0.
func Reason(text string) RevokeOption { return RevokeOption{reason: text, because: true} }

const (
	graceAsk     = -1 // of a Revocation that only asks
	graceInvalid = -2
)

// Revocation is the body of OpRevoke: [hold, grace, reason].
type Revocation struct {
	Hold   protocol.HoldID
	Grace  int64 // milliseconds; 0: it ends at once; -1: its holder is only asked
	Reason string
}

// Append appends the body.
func (v *Revocation) Append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 3), uint64(v.Hold))
	return protocol.AppendString(protocol.AppendInt(dst, v.Grace), v.Reason)
}

// Read reads the body and checks it.
func (v *Revocation) Read(body []byte) error {
	r := protocol.NewReader(body)
	r.Array(3)
	v.Hold, v.Grace, v.Reason = protocol.HoldID(r.Uint()), r.Int(), r.String()
	if err := r.Done(); err != nil {
		return err
	}
	return v.Check()
}

// Check returns [quorate.ErrInvalid] or [quorate.ErrTooLarge] for what cannot be asked for.
func (v *Revocation) Check() error {
	switch {
	case v.Hold == 0:
		return fmt.Errorf("%w: hold 0", quorate.ErrInvalid)
	case v.Grace < graceAsk || v.Grace > MaxGrace.Milliseconds():
		return fmt.Errorf("%w: a grace that is not within 0 to %v", quorate.ErrInvalid, MaxGrace)
	}
	return checkText("reason", v.Reason)
}

// Revoke takes a hold away from the session that has it, or asks for it ([AskOnly]), and
// reports whether there was such a hold. [Handle.Inspect] lists the holds. Revoke never
// affects a later holder.
//
// The holder's client learns of it within a fifth of its session's TTL, or a second if
// that is more; if the hold is younger than a second that may take a second more. The
// client ends the hold's context, with [ErrRevoked] as its cause, and then acknowledges
// the revocation. The hold ends when it is released or its session ends, and, after the
// acknowledgement, at the end of the grace ([Grace], [DefaultGrace]). So nobody else is
// granted it while a holder that is cut off believes that it has it, unless the grace is
// 0. Revoking a hold again may shorten its grace.
//
// Errors: [quorate.ErrInvalid] for hold 0, a grace out of range or a reason that is not
// UTF-8; [quorate.ErrTooLarge] for a reason of more than [MaxNote] bytes.
func (h *Handle) Revoke(ctx context.Context, hold protocol.HoldID, opts ...RevokeOption) (existed bool, err error) {
	const verb = "revoke a hold of"
	v := RevocationWith(hold, opts)
	if err := v.Check(); err != nil && h.bad == nil {
		return false, h.Fail(verb, err, "")
	}
	return h.Existed(ctx, h.Call(verb, OpRevoke, 0, h.Partition(nil), v.Append(nil)))
}

// RevocationWith returns what options ask for.
func RevocationWith(hold protocol.HoldID, opts []RevokeOption) Revocation {
	v := Revocation{Hold: hold, Grace: DefaultGrace.Milliseconds()}
	for _, o := range opts {
		if o.graced {
			v.Grace = o.grace
		}
		if o.because {
			v.Reason = o.reason
		}
	}
	return v
}

// Existed carries out a call that reports whether there was what it is about.
func (h *Handle) Existed(ctx context.Context, call Call) (existed bool, err error) {
	reply, err := h.Invoke(ctx, call)
	if err != nil {
		return false, err
	}
	r := protocol.NewReader(reply.Body)
	r.Array(1)
	existed = r.Bool()
	if r.Done() != nil {
		return false, h.Garbled(call.Verb, reply)
	}
	return existed, nil
}

// HoldState is the result of OpHold, the state of a hold as its holder asks for it:
// [mark, reason].
type HoldState struct {
	Mark   HoldMark
	Reason string
}

// Append appends the result.
func (s *HoldState) Append(dst []byte) []byte {
	return protocol.AppendString(protocol.AppendUint(protocol.AppendArray(dst, 2), uint64(s.Mark)), s.Reason)
}

// Read reads the result.
func (s *HoldState) Read(body []byte) error {
	r := protocol.NewReader(body)
	r.Array(2)
	mark := r.Uint()
	if mark > math.MaxUint8 {
		r.Fail()
	}
	s.Mark, s.Reason = HoldMark(mark), strings.Clone(r.String())
	return r.Done()
}
