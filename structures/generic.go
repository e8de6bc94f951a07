package structures

import (
	"slices"

	"github.com/quorate/quorate/protocol"
)

// The operations that every kind has. The state of a group carries them out, for all
// kinds alike; Machines do not see them. Numbers are never used again. Those from
// FirstGeneric on belong to no kind.
const (
	FirstGeneric protocol.Op = 240

	OpDestroy   protocol.Op = 240
	OpLength    protocol.Op = 241
	OpConfigure protocol.Op = 242
	OpSettings  protocol.Op = 243
	OpInspect   protocol.Op = 244
	OpAdopt     protocol.Op = 245 // of keyed kinds: in every partition but that of the name

	// Of kinds with operations that hold.
	OpRevoke      protocol.Op = 248
	OpAcknowledge protocol.Op = 249 // by the holder's client, when the contexts of a revoked hold have ended
	OpHold        protocol.Op = 250 // by the holder's client, to learn whether it is revoked
)

// Generic returns the operations that the kind has beside its own: those with
// numbers from FirstGeneric on.
func (k *Kind) Generic() []OpInfo {
	if k.ID == protocol.KindTxn {
		return nil // it is no structure
	}
	which := 0
	if k.Keyed {
		which |= genericKeyed
	}
	if k.Holds() {
		which |= genericHolds
	}
	if k.Lasting {
		which |= genericLasting
	}
	return generic[which]
}

// Holds reports whether the kind has operations that hold.
func (k *Kind) Holds() bool {
	return slices.ContainsFunc(k.Ops, func(o OpInfo) bool { return o.Holds })
}

const (
	genericKeyed   = 1 << iota // of kinds of which each partition has a part
	genericHolds               // of kinds with operations that hold
	genericLasting             // of kinds that cannot be destroyed
)

// generic are the operations by what the kind has.
var generic = func() (by [8][]OpInfo) {
	for which := range by {
		by[which] = append(by[which], genericOps...)
		ops := &by[which]
		if which&genericKeyed != 0 {
			// The partition of the name agrees settings for all.
			for i := range *ops {
				if op := (*ops)[i].Op; op == OpDestroy || op == OpLength || op == OpInspect {
					(*ops)[i].Route, (*ops)[i].Txn = RoutePart(), false
				}
			}
			*ops = append(*ops, OpInfo{
				Op: OpAdopt, Name: "adopt", Body: "[version, * (name: tstr, setting)]", Result: "[]", Right: RightManage, Route: RoutePart(),
			})
		}
		if which&genericHolds != 0 {
			*ops = append(*ops, genericOfHolds...)
		}
		if which&genericLasting != 0 {
			*ops = slices.DeleteFunc(*ops, func(o OpInfo) bool { return o.Op == OpDestroy })
		}
	}
	return by
}()

var genericOps = []OpInfo{
	{Op: OpDestroy, Name: "destroy", Body: "[]", Result: "[]", Right: RightManage},
	{Op: OpLength, Name: "length", Body: "[]", Result: "[n: int]", Read: true, Txn: true, Right: RightRead},
	{Op: OpConfigure, Name: "configure", Body: "[* (name: tstr, setting)]", Result: "[version]", Codes: []protocol.Code{protocol.CodeSettings}, Grows: true, Right: RightManage},
	{Op: OpSettings, Name: "settings", Body: "[]", Result: "[version, * (name: tstr, setting)]", Read: true, Right: RightRead},
	{Op: OpInspect, Name: "inspect", Body: "[from: hold, most: uint]", Result: "[length: int, bytes: uint, waiting: uint, next: hold, [* holder], [* waiting-call]]", Read: true, Right: RightRead},
}

// genericOfHolds are those on one hold. A holder needs no other right to learn of a
// revocation, and to acknowledge it.
var genericOfHolds = []OpInfo{
	{Op: OpRevoke, Name: "revoke", Body: "[hold, grace: int, reason: tstr]", Result: "[existed: bool]", Admin: true, Right: RightManage},
	{Op: OpAcknowledge, Name: "acknowledge", Body: "[hold]", Result: "[revoked: bool]", Right: RightHold},
	{Op: OpHold, Name: "hold_state", Body: "[hold]", Result: "[mark, reason: tstr]", Read: true, Right: RightHold},
}

// Control describes kind 0, which is no structure: its operations act on the record
// of a call, or list the structures of a partition.
func Control() Kind {
	return Kind{
		ID: protocol.KindControl, Name: "control", Level: 1,
		Doc: "Operations on the record of a call, and on the structures of a partition",
		Ops: []OpInfo{
			{Op: protocol.OpCancel, Name: "cancel", Body: "", Result: ""},
			{Op: protocol.OpConfirm, Name: "confirm", Body: "", Result: ""},
			{
				Op: protocol.OpNames, Name: "names", Body: "[kind: u8, from: tstr, most: uint]", Result: "[next: tstr, * (name: tstr, length: int, bytes: uint)]",
				Read: true, Right: RightRead, Route: RoutePart(),
			},
			{
				Op: protocol.OpWatch, Name: "watch", Body: "[kind: u8, options: uint, from: bstr, to: bstr, types: uint, credit: uint, [* [partition: uint, start: uint, version: uint, skip: uint, listed: bstr]]]", Result: "[* [partition: uint, version: uint]]",
				Read: true, Right: RightRead, Route: RoutePart(),
			},
		},
	}
}
