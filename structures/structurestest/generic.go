package structurestest

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// Configured is what the Model of a kind with settings implements besides.
type Configured interface {
	// Settings draws settings that the kind accepts, by name.
	Settings(t *rapid.T) []structures.Setting
	// Configure puts settings into force.
	Configure(s *structures.Settings)
}

// generic is what the suite knows of the operations that every kind has, around the
// model of the kind's own.
type generic struct {
	agreed  *structures.Settings // nil: none; a version of 0 is not known yet
	adopted protocol.Version     // the last that was drawn
	marks   map[protocol.HoldID]*mark
}

// firstAdopted is above every version of a run.
const firstAdopted protocol.Version = 1 << 40

// generate draws an operation, now and then one that every kind has.
func (r *run) generate(t *rapid.T) Op {
	_, holds := r.model.(Holding)
	switch n := rapid.IntRange(0, 9).Draw(t, "generic"); {
	case n >= 8 && holds:
		return r.drawOfHolds(t)
	case n > 0:
		return r.model.Generate(t)
	}
	empty := protocol.AppendArray(nil, 0)
	ops := r.kind.Generic()
	info := &ops[rapid.IntRange(0, len(ops)-1).Draw(t, "generic operation")]
	op := Op{Op: info.Op, Body: empty, Text: info.Name}
	if info.Read {
		op.Flags = protocol.FlagRead
	}
	configured, _ := r.model.(Configured)
	switch {
	case info.Op == structures.OpInspect:
		return r.drawInspect(t)
	case info.Op >= structures.OpRevoke:
		return r.drawOfHolds(t)
	case info.Op == structures.OpDestroy && rapid.IntRange(0, 2).Draw(t, "destroy") > 0:
		return r.model.Generate(t)
	case info.Op == structures.OpConfigure, info.Op == structures.OpAdopt:
		if configured == nil {
			return r.model.Generate(t)
		}
		s := structures.Settings{List: configured.Settings(t)}
		op.Text += fmt.Sprint(" ", s.List)
		op.Body = configureBody(s.List)
		if info.Op == structures.OpAdopt {
			s.Version = 1
			if rapid.Bool().Draw(t, "newer") {
				r.generic.adopted++
				s.Version = firstAdopted + r.generic.adopted
			}
			op.Body = s.Append(nil)
		}
	}
	return op
}

// configureBody returns the body of OpConfigure.
func configureBody(list []structures.Setting) []byte {
	s := structures.Settings{List: list}
	b := s.Append(nil)
	r := protocol.NewReader(b)
	r.ArrayLen()
	r.Uint()
	return append(protocol.AppendArray(nil, 2*len(list)), b[len(b)-r.Len():]...)
}

// apply lets the model carry out a mutation.
func (r *run) apply(call Call) []Answer {
	switch call.Op.Op {
	case structures.OpDestroy:
		return r.destroy(call)
	case structures.OpConfigure, structures.OpAdopt:
		return []Answer{r.configure(call)}
	case structures.OpRevoke:
		return r.revoke(call)
	case structures.OpAcknowledge:
		return r.acknowledge(call)
	}
	return r.model.Apply(call, r.now)
}

// destroy empties the model and ends the calls that wait.
func (r *run) destroy(call Call) []Answer {
	answers := []Answer{OK(call.ID, protocol.AppendArray(nil, 0))}
	for _, c := range r.calls {
		if !c.answered && !c.over && c.ID != call.ID {
			answers = append(answers, Refused(c.ID, protocol.CodeDestroyed))
		}
	}
	r.model.Destroy()
	r.generic.agreed = nil
	return answers
}

// configure agrees settings, or adopts those that were agreed elsewhere.
func (r *run) configure(call Call) Answer {
	s, err := r.kind.ReadConfigure(call.Op.Op, call.Body)
	if err != nil {
		panic("structurestest: bug: " + err.Error())
	}
	now := r.generic.agreed
	if call.Op.Op == structures.OpAdopt {
		if now == nil || s.Version > now.Version && s.Version > firstAdopted {
			r.agree(s)
		}
		return OK(call.ID, protocol.AppendArray(nil, 0))
	}
	switch {
	case now == nil:
		r.agree(s)
	case !now.Equal(s):
		return Refused(call.ID, protocol.CodeSettings)
	}
	agreed := r.generic.agreed
	return Answer{Call: call.ID, Match: func(body []byte, _ protocol.Version) error {
		r := protocol.NewReader(body)
		r.Array(1)
		version := protocol.Version(r.Uint())
		if agreed.Version == 0 {
			agreed.Version = version
		}
		if r.Done() != nil || version == 0 || version != agreed.Version {
			return fmt.Errorf("settings of version %d are in force: %x", agreed.Version, body)
		}
		return nil
	}}
}

func (r *run) agree(s *structures.Settings) {
	r.generic.agreed = s
	r.model.(Configured).Configure(s)
}

// readModel answers a read as the model does.
func (r *run) readModel(op Op) Answer {
	switch op.Op {
	case structures.OpLength:
		return OK(0, protocol.AppendInts(nil, r.model.Len(r.now)))
	case structures.OpSettings:
		s := structures.Settings{List: r.kind.InForce(r.generic.agreed)}
		if r.generic.agreed != nil {
			s.Version = r.generic.agreed.Version
		}
		return OK(0, s.Append(nil))
	case structures.OpInspect:
		return r.inspect(op)
	case structures.OpHold:
		return r.holdState(op)
	}
	return r.model.Read(op, r.now)
}

// exists reports whether the structure exists.
func (r *run) exists() bool {
	return slices.ContainsFunc(r.steady.state.Structures(), func(i groupstate.Info) bool { return i.Name == name })
}

// named wants a structure that exists, and no other, to be listed, with its length,
// and with its bytes: those of the partition, where nothing is left of earlier instances.
func (r *run) named() error {
	for _, rep := range []*replica{r.steady, r.restart} {
		exists := slices.ContainsFunc(rep.state.Structures(), func(i groupstate.Info) bool { return i.Name == name })
		body := protocol.AppendUint(protocol.AppendString(protocol.AppendUint(protocol.AppendArray(nil, 3), uint64(r.kind.ID)), ""), 10)
		got := rep.read(structures.Control(), Op{Op: protocol.OpNames, Flags: protocol.FlagRead, Body: body})
		b := protocol.NewReader(got.body)
		n := b.ArrayLen()
		next := b.String()
		if !exists {
			if got.code != protocol.CodeOK || n != 1 || next != "" || b.Done() != nil {
				return fmt.Errorf("names: %+v, and there is no structure", got)
			}
			continue
		}
		listed, length, bytes := b.String(), b.Int(), b.Uint()
		if got.code != protocol.CodeOK || n != 4 || next != "" || b.Done() != nil || listed != name || length != r.model.Len(r.now) {
			return fmt.Errorf("names: %+v, want %s of length %d", got, name, r.model.Len(r.now))
		}
		if all := rep.state.Totals().Bytes; !rep.state.Unfinished() && bytes != uint64(all) {
			return fmt.Errorf("names: it has %d bytes, the partition has %d", bytes, all)
		}
	}
	return nil
}
