package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
)

// Election records what an election's handle does. Each value that is campaigned with or
// proclaimed must be another.
type Election struct {
	recorder
	election *delection.Election[string]
}

// NewElection returns a recorder of an election for one client.
func NewElection(h *History, client int, name string, e *delection.Election[string]) *Election {
	return &Election{recorder{h, client, object{kind: elections, name: name}}, e}
}

type electionOp uint8

const (
	electionCampaign electionOp = iota + 1
	electionProclaim
	electionResign
	electionLeader
)

type electionInput struct {
	op        electionOp
	value     string
	grant     int  // which leadership; of a read 0
	contended bool // of a campaign that was not elected: others waited
}

type electionOutput struct {
	elected bool // of campaign
	none    bool // of leader: there is none
	value   string
	hold    protocol.HoldID
	token   protocol.Token
	err     error // a condition of the election's own
}

// Campaign records delection.Election.Campaign, and what becomes of the leadership.
func (e *Election) Campaign(ctx context.Context, value string, opts ...delection.CampaignOption) (*Lead, error) {
	call := e.history.now()
	lead, err := e.election.Campaign(ctx, value, opts...)
	in := electionInput{op: electionCampaign, value: value, grant: e.history.number()}
	end := e.history.now()
	if err != nil && !notInTime(err) {
		end = Pending // it may wait until its session has ended
	}
	e.history.waited(wait{object: e.object, call: call, end: end})
	switch {
	case lead != nil:
		e.record(call, in, electionOutput{elected: true, hold: lead.ID(), token: lead.Token()}, nil)
		return e.lead(call, in, lead), nil
	case unknown(err), errors.Is(err, quorate.ErrSessionLost), errors.Is(err, quorate.ErrClosed):
		// It may lead until its session has ended, unseen.
		e.history.add(Operation{Client: e.client, Object: e.object, Call: call, Return: Pending, Input: in})
		e.history.add(e.ends(call, in))
	case notInTime(err):
		e.record(call, in, electionOutput{}, nil)
	}
	return nil, err
}

// ends is the end of a leadership, at any time since a moment.
func (e *Election) ends(since int64, in electionInput) Operation {
	in.op = electionResign
	return Operation{Client: e.client, Object: e.object, Call: since, Return: Pending, Input: in}
}

// Lead records what becomes of a leadership.
type Lead struct {
	*delection.Leadership[string]
	election *Election
	call     int64 // of the campaign
	grant    electionInput

	once sync.Once
	err  error
}

// lead keeps a leadership in mind until it is resigned.
func (e *Election) lead(call int64, in electionInput, lead *delection.Leadership[string]) *Lead {
	l := &Lead{Leadership: lead, election: e, call: call, grant: in}
	e.history.mu.Lock()
	defer e.history.mu.Unlock()
	if e.history.leads == nil {
		e.history.leads = map[*Lead]bool{}
	}
	e.history.leads[l] = true
	return l
}

// Proclaim records delection.Leadership.Proclaim.
func (l *Lead) Proclaim(ctx context.Context, value string) error {
	e := l.election
	call := e.history.now()
	err := l.Leadership.Proclaim(ctx, value)
	in := electionInput{op: electionProclaim, value: value, grant: l.grant.grant}
	switch condition := is(err, structures.ErrNotHeld); {
	case condition != nil:
		e.record(call, in, electionOutput{err: condition}, nil)
	case err == nil:
		e.record(call, in, electionOutput{}, nil)
	default:
		e.record(call, in, nil, err)
	}
	return err
}

// Resign records delection.Leadership.Resign. The first call counts.
func (l *Lead) Resign(ctx context.Context) error {
	l.once.Do(func() {
		e := l.election
		call := e.history.now()
		l.err = l.Leadership.Resign(ctx)
		in := l.grant
		in.op = electionResign
		switch {
		case errors.Is(l.err, structures.ErrNotHeld):
			return // it has ended before: since when says who has revoked it, perhaps later
		case l.err != nil:
			e.history.add(e.ends(l.call, in))
		default:
			e.record(call, in, electionOutput{}, nil)
		}
		e.history.mu.Lock()
		defer e.history.mu.Unlock()
		delete(e.history.leads, l)
	})
	return l.err
}

// Leader records delection.Election.Leader.
func (e *Election) Leader(ctx context.Context) (delection.Leader[string], bool, error) {
	call := e.history.now()
	l, ok, err := e.election.Leader(ctx)
	if err == nil {
		e.record(call, electionInput{op: electionLeader}, electionOutput{none: !ok, value: l.Value, hold: l.Hold, token: l.Token}, nil)
	}
	return l, ok, err
}

// Transfer records delection.Election.Transfer: the leadership may end at any time from the
// call on, and not before.
func (e *Election) Transfer(ctx context.Context, from, to protocol.HoldID, opts ...delection.RevokeOption) (existed bool, err error) {
	call := e.history.now()
	existed, err = e.election.Transfer(ctx, from, to, opts...)
	e.revoked(call, from, existed, err)
	return existed, err
}

// ForceResign records delection.Election.ForceResign, as Transfer does.
func (e *Election) ForceResign(ctx context.Context, hold protocol.HoldID, opts ...delection.RevokeOption) (existed bool, err error) {
	call := e.history.now()
	existed, err = e.election.ForceResign(ctx, hold, opts...)
	e.revoked(call, hold, existed, err)
	return existed, err
}

func (e *Election) revoked(call int64, hold protocol.HoldID, existed bool, err error) {
	switch {
	case unknown(err):
		e.history.revoke(e.object, hold, 0)
	case existed:
		e.history.revoke(e.object, hold, call)
	}
}

// Candidates is delection.Election.Candidates, which is not recorded.
func (e *Election) Candidates(ctx context.Context) ([]delection.Candidate[string], error) {
	return e.election.Candidates(ctx)
}

// led is the state of an election.
type led struct {
	by    int // the number of the leadership; 0: nobody leads
	hold  protocol.HoldID
	token protocol.Token // the largest that is known
	// unseen: the hold and the token of the leader are not known yet.
	unseen bool
	value  string
}

var electionChecker = checker{
	name: "election", model: electionModel,
	contended: func(op *Operation, overlaps func(puts bool) bool) any {
		in := op.Input.(electionInput)
		if out, ok := op.Output.(electionOutput); ok && in.op == electionCampaign && !out.elected {
			in.contended = overlaps(false)
		}
		return in
	},
}

// electionModel is one leader, or none, and the value that it said last. Tokens grow from
// leader to leader.
var electionModel = porcupine.Model{
	Init: func() any { return led{} },
	Step: func(state, input, output any) (bool, any) {
		in := input.(electionInput)
		out, known := output.(electionOutput)
		next, ok := state.(led).step(in, out, known)
		return ok || !known, next
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		in := input.(electionInput)
		names := []string{"", "campaign", "proclaim", "resign", "leader"}
		return fmt.Sprintf("%s(%q) leadership %d -> %+v", names[in.op], in.value, in.grant, output)
	},
}

// step returns the state after an operation, and whether it can have done what out says.
func (s led) step(in electionInput, out electionOutput, known bool) (led, bool) {
	switch in.op {
	case electionLeader:
		switch {
		case out.none || s.by == 0:
			return s, out.none && s.by == 0
		case s.unseen && out.token > s.token && out.value == s.value:
			s.hold, s.token, s.unseen = out.hold, out.token, false
			return s, true
		}
		return s, !s.unseen && out.token == s.token && out.hold == s.hold && out.value == s.value
	case electionProclaim:
		if s.by != in.grant {
			return s, out.err != nil
		}
		s.value = in.value
		return s, out.err == nil
	case electionResign:
		if s.by != in.grant {
			return s, false
		}
		return led{token: s.token}, true
	}
	switch {
	case known && !out.elected:
		return s, in.contended || s.by != 0
	case s.by != 0:
		return s, false
	case !known:
		return led{by: in.grant, token: s.token, unseen: true, value: in.value}, true
	}
	return led{by: in.grant, hold: out.hold, token: out.token, value: in.value}, out.token > s.token
}

// Observed checks what one observer of an election sees. It is safe for concurrent use.
type Observed struct {
	mu    sync.Mutex // guards what follows
	token protocol.Token
	seen  map[string]protocol.Token // by value
	last  delection.Leader[string]
	said  bool // anything
}

// Take notes what was observed. Its error says that a token goes back, or that a value
// comes with two tokens.
func (o *Observed) Take(l delection.Leader[string]) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last, o.said = l, true
	if l.None {
		return nil
	}
	if o.seen == nil {
		o.seen = map[string]protocol.Token{}
	}
	token, again := o.seen[l.Value]
	switch {
	case l.Token < o.token:
		return fmt.Errorf("token %d was observed after token %d", l.Token, o.token)
	case again && token != l.Token:
		return fmt.Errorf("value %q was observed with token %d and with token %d", l.Value, token, l.Token)
	}
	o.token, o.seen[l.Value] = l.Token, l.Token
	return nil
}

// Last returns what was observed last, and whether anything was.
func (o *Observed) Last() (l delection.Leader[string], ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.said
}

// Check compares what was observed with what leaders have said: of each value the token of
// its leader, if that is known, and whether anybody has said it. It returns how many
// values were observed.
func (o *Observed) Check(tokenOf func(value string) (token protocol.Token, known, said bool)) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for value, token := range o.seen {
		switch want, known, said := tokenOf(value); {
		case !said:
			return 0, fmt.Errorf("value %q was observed, which no leader has said", value)
		case known && want != token:
			return 0, fmt.Errorf("value %q was observed with token %d, its leader has token %d", value, token, want)
		}
	}
	return len(o.seen), nil
}
