package groupstate

import (
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// checkGeneric checks the body of an operation that every kind has.
func checkGeneric(k *structures.Kind, op protocol.Op, body []byte) error {
	switch op {
	case structures.OpConfigure, structures.OpAdopt:
		_, err := k.ReadConfigure(op, body)
		return err
	case structures.OpDestroy, structures.OpLength, structures.OpSettings:
		return protocol.ReadInts(body)
	case structures.OpTest: // of a transaction
		return checkTest(k, body)
	case structures.OpInspect:
		return new(structures.InspectRequest).Read(body)
	case structures.OpRevoke:
		return new(structures.Revocation).Read(body)
	case structures.OpAcknowledge, structures.OpHold:
		_, err := structures.ReadHold(body)
		return err
	}
	return fmt.Errorf("%w: operation %d", quorate.ErrUnsupported, op)
}

// applyGeneric carries out a mutation that every kind has.
func (t *tx) applyGeneric(k *structures.Kind, op protocol.Op, body []byte) structures.Result {
	switch op {
	case structures.OpDestroy:
		if t.Exists() {
			t.Destroy()
		}
		return structures.OK(protocol.AppendArray(nil, 0))
	case structures.OpConfigure:
		return t.configure(k, body)
	case structures.OpAdopt:
		s, err := k.ReadConfigure(op, body)
		if err != nil {
			return refuseError(err)
		}
		if now := t.instance.settings; now == nil || s.Version > now.Version {
			t.setSettings(s)
		}
		return structures.OK(protocol.AppendArray(nil, 0))
	case structures.OpRevoke:
		var v structures.Revocation
		if err := v.Read(body); err != nil {
			return refuseError(err)
		}
		return t.revoke(k, &v)
	case structures.OpAcknowledge:
		id, err := structures.ReadHold(body)
		if err != nil {
			return refuseError(err)
		}
		return t.acknowledge(k, id)
	}
	panic("groupstate: bug: unchecked operation")
}

// configure agrees a structure's settings, once.
func (t *tx) configure(k *structures.Kind, body []byte) structures.Result {
	s, err := k.ReadConfigure(structures.OpConfigure, body)
	if err != nil {
		return refuseError(err)
	}
	now := t.instance.settings
	switch {
	case now == nil:
		s.Version = t.Version()
		t.setSettings(s)
	case !now.Equal(s):
		return structures.Refuse(protocol.CodeSettings, "in force: "+k.FormatSettings(now))
	default:
		s = now
	}
	return structures.OK(protocol.AppendUint(protocol.AppendArray(nil, 1), uint64(s.Version)))
}

// setSettings agrees settings.
func (t *tx) setSettings(s *structures.Settings) {
	t.writing()
	t.cost++
	t.settings = s
}

// readGeneric answers a read that every kind has.
func (v *reader) readGeneric(k *structures.Kind, op protocol.Op, body []byte) structures.Result {
	switch op {
	case structures.OpLength:
		return structures.OK(protocol.AppendInts(nil, k.Machine.Len(v)))
	case structures.OpSettings:
		s := structures.Settings{List: k.InForce(v.instance.settings)}
		if v.instance.settings != nil {
			s.Version = v.instance.settings.Version
		}
		return structures.OK(s.Append(nil))
	case structures.OpInspect:
		var q structures.InspectRequest
		if err := q.Read(body); err != nil {
			return refuseError(err)
		}
		return v.inspect(k, q)
	case structures.OpHold:
		id, err := structures.ReadHold(body)
		if err != nil {
			return refuseError(err)
		}
		return v.holdState(id)
	}
	panic("groupstate: bug: unchecked operation")
}

// readNames reads the body of protocol.OpNames: a kind, the name to begin with, and the
// most names to return.
func readNames(body []byte) (kind protocol.KindID, from string, most uint64, err error) {
	r := protocol.NewReader(body)
	r.Array(3)
	n := r.Uint()
	from, most = r.String(), r.Uint()
	if n == uint64(protocol.KindControl) || n > 255 || most == 0 {
		r.Fail()
	}
	return protocol.KindID(n), from, most, r.Done()
}

// names lists structures of a kind in a partition, with their length and bytes, as many
// as the request allows and a page holds.
func (v *reader) names(s *State, p *partition, body []byte) structures.Result {
	kind, from, most, err := readNames(body)
	if err != nil {
		return refuseError(err)
	}
	k := s.kinds[kind]
	if k == nil || k.Level > s.level {
		return structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("unknown kind of structure %d", kind))
	}
	most = min(most, uint64(s.limits.PageEntries))
	var items []byte
	found, next := 0, ""
	p.names.Ascend(string(byte(kind))+from, func(name string, id uint64) bool {
		switch {
		case name[0] != byte(kind) || !v.openInstance(s, p, id):
			return false
		case uint64(found) == most, found > 0 && len(items) > int(s.limits.PageBytes):
			next = name[1:]
			return false
		}
		v.cost++
		found++
		items = protocol.AppendString(items, name[1:])
		items = protocol.AppendInt(items, k.Machine.Len(v))
		items = protocol.AppendUint(items, uint64(*v.instance.bytes))
		return true
	})
	b := protocol.AppendString(protocol.AppendArray(nil, 1+3*found), next)
	return structures.OK(append(b, items...))
}
