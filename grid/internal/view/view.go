package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dservice"
)

const (
	// Revision is the header with the version of the state that was read.
	Revision = "X-Quorate-Revision"

	answerTime = 10 * time.Second // for what does not wait
	maxWait    = 5 * time.Minute
	maxWaiting = 32 // requests that wait at once, so that others find a connection
)

// Handler serves the paths below /v1/. It is safe for concurrent use.
type Handler struct {
	mux     http.ServeMux
	client  func() *client.Client
	waiting atomic.Int64
}

// New returns a Handler that asks the grid through a client, which is nil before the member
// is ready.
func New(c func() *client.Client) *Handler {
	h := &Handler{client: c}
	for path, p := range map[string]page{
		"/v1/services":         {services, nil},
		"/v1/services/{name}":  {service, []string{"after", "wait", "stale", "tag", "health"}},
		"/v1/presence/{name}":  {presence, []string{"after", "wait", "stale"}},
		"/v1/elections/{name}": {func(r *request) (any, error) { return holders(r, delection.Kind()) }, nil},
		"/v1/locks/{name}":     {func(r *request) (any, error) { return holders(r, dlock.Kind()) }, nil},
		"/v1/members":          {members, nil},
	} {
		h.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, p) })
	}
	return h
}

// page is what a path shows.
type page struct {
	show       func(*request) (any, error)
	parameters []string // that its query may have
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// request is one request that is answered.
type request struct {
	*http.Request
	ctx    context.Context
	client *client.Client
	view   structures.Version
	seen   bool // view was read
	name   string
	after  structures.Version
	waits  time.Duration
}

// refused is an error with a status of its own.
type refused struct {
	status int
	error
}

func bad(format string, args ...any) error {
	return refused{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

func (h *Handler) serve(w http.ResponseWriter, q *http.Request, p page) {
	head := w.Header()
	head.Set("Content-Type", "application/json")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-store")
	r := &request{Request: q, client: h.client(), name: q.PathValue("name")}
	answer, err := h.answer(w, r, p)
	if err != nil {
		w.WriteHeader(statusOf(err))
		answer = map[string]string{"error": err.Error()}
	} else if r.seen {
		head.Set(Revision, strconv.FormatUint(uint64(r.view), 10))
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(answer) // a caller that has gone needs no answer
}

func statusOf(err error) int {
	var own refused
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.Is(err, quorate.ErrInvalid), errors.Is(err, quorate.ErrTooLarge):
		return http.StatusBadRequest
	case errors.Is(err, quorate.ErrCodec):
		return http.StatusInternalServerError
	}
	return http.StatusServiceUnavailable
}

func (h *Handler) answer(w http.ResponseWriter, r *request, p page) (any, error) {
	if r.client == nil {
		return nil, refused{http.StatusServiceUnavailable, errors.New("the member is not ready")}
	}
	if err := p.check(r.URL.Query()); err != nil {
		return nil, err
	}
	if err := r.readWait(); err != nil {
		return nil, err
	}
	if r.waits > 0 {
		defer h.waiting.Add(-1)
		if h.waiting.Add(1) > maxWaiting {
			return nil, refused{http.StatusServiceUnavailable, errors.New("too many requests wait at this member")}
		}
		// A connection whose deadline cannot be moved ends with the server's.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(r.waits + 2*answerTime))
	}
	ctx, cancel := context.WithTimeout(r.Context(), r.waits+answerTime)
	defer cancel()
	r.ctx = ctx
	return p.show(r)
}

// check refuses what the page does not have: tags=v1 would list all instances, and a caller
// that waits for a change would be answered at once, for ever.
func (p page) check(query url.Values) error {
	for name := range query {
		switch {
		case slices.Contains(p.parameters, name):
		case len(p.parameters) == 0:
			return bad("%s is unknown: this path has no parameters", name)
		default:
			return bad("%s is unknown: want one of %s", name, strings.Join(p.parameters, ", "))
		}
	}
	return nil
}

// readWait reads after=REVISION and wait=DURATION.
func (r *request) readWait() error {
	q := r.URL.Query()
	if !q.Has("after") {
		if q.Has("wait") {
			return bad("wait needs after=REVISION")
		}
		return nil
	}
	after, err := strconv.ParseUint(q.Get("after"), 10, 64)
	if err != nil {
		return bad("after: want a revision, as X-Quorate-Revision has it")
	}
	r.after, r.waits = structures.Version(after), 30*time.Second
	if q.Has("wait") {
		if r.waits, err = time.ParseDuration(q.Get("wait")); err != nil || r.waits <= 0 || r.waits > maxWait {
			return bad("wait: want a duration such as 30s, at most %v", maxWait)
		}
	}
	return nil
}

// await waits until a change comes behind r.after, or the time is over. A revision that is
// not of this history is a change, too.
func await[C any](r *request, watch func(ctx context.Context) func(yield func(C, error) bool), is func(C) structures.EventType) {
	if r.waits == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.waits)
	defer cancel()
	for c, err := range watch(ctx) {
		if err != nil || is(c) != structures.EventSynced {
			return
		}
	}
}

func services(r *request) (any, error) {
	names, err := dservice.Names(r.ctx, r.client)
	if names == nil {
		names = []string{}
	}
	return map[string]any{"services": names}, err
}

// instance is an entry of a service as JSON has it.
type instance struct {
	dservice.Instance
	Health  string `json:"health"`
	Note    string `json:"note,omitempty"`
	Drained bool   `json:"drained"`
	Reason  string `json:"reason,omitempty"`
	ForMS   int64  `json:"for_ms"`
	Version uint64 `json:"version"`
}

func service(r *request) (any, error) {
	q := r.URL.Query()
	opts := []dservice.ListOption{dservice.AnyHealth()}
	for _, tag := range q["tag"] {
		opts = append(opts, dservice.Tag(tag))
	}
	if q.Has("stale") {
		opts = append(opts, dservice.Stale())
	}
	takes, ok := map[string]func(*dservice.Entry) bool{
		"":         (*dservice.Entry).Usable,
		"any":      func(*dservice.Entry) bool { return true },
		"passing":  func(e *dservice.Entry) bool { return e.Health == dservice.Passing && !e.Drained },
		"warning":  func(e *dservice.Entry) bool { return e.Health == dservice.Warning && !e.Drained },
		"critical": func(e *dservice.Entry) bool { return e.Health == dservice.Critical },
		"drained":  func(e *dservice.Entry) bool { return e.Drained },
	}[q.Get("health")]
	if !ok {
		return nil, bad("health: want passing, warning, critical, drained or any")
	}
	s := dservice.New(r.client, r.name)
	await(r, func(ctx context.Context) func(func(dservice.Change, error) bool) {
		return s.Watch(ctx, dservice.After(r.after))
	}, func(c dservice.Change) structures.EventType { return c.Type })
	all, view, err := s.List(r.ctx, opts...)
	if err != nil && !errors.Is(err, quorate.ErrCodec) {
		return nil, err
	}
	r.view, r.seen = view, true
	answer := map[string]any{"service": r.name}
	if err != nil { // of an instance that this member cannot decode: the others can be used
		answer["error"] = err.Error()
	}
	list := []instance{}
	for i := range all {
		if e := &all[i]; takes(e) {
			list = append(list, instance{e.Instance, e.Health.String(), e.Note, e.Drained, e.Reason, e.For.Milliseconds(), uint64(e.Version)})
		}
	}
	answer["instances"] = list
	return answer, nil
}

// member is an entry of a group as JSON has it.
type member struct {
	ID      string `json:"id"`
	Payload any    `json:"payload"`
	ForMS   int64  `json:"for_ms"`
	Version uint64 `json:"version"`
}

func presence(r *request) (any, error) {
	g := dpresence.New[structures.Encoded](r.client, r.name)
	await(r, func(ctx context.Context) func(func(dpresence.Change[structures.Encoded], error) bool) {
		return g.Watch(ctx, dpresence.After(r.after))
	}, func(c dpresence.Change[structures.Encoded]) structures.EventType { return c.Type })
	var opts []dpresence.ReadOption
	if r.URL.Query().Has("stale") {
		opts = append(opts, dpresence.Stale())
	}
	all, view, err := g.List(r.ctx, opts...)
	if err != nil {
		return nil, err
	}
	r.view, r.seen = view, true
	list := []member{}
	for _, e := range all {
		list = append(list, member{e.ID, show(e.Payload), e.For.Milliseconds(), uint64(e.Version)})
	}
	return map[string]any{"presence": r.name, "members": list}, nil
}

// show returns a payload as JSON can have it: what has no form in it as diagnostic notation.
func show(p structures.Encoded) any {
	v, err := p.Value()
	if err == nil {
		if _, err = json.Marshal(v); err == nil {
			return v
		}
	}
	if text, err := p.Diagnose(); err == nil {
		return text
	}
	return p.Bytes()
}

// holder is who holds something, or waits for it, as JSON has it.
type holder struct {
	Hold    uint64 `json:"hold,omitempty"`
	Token   uint64 `json:"token,omitempty"`
	Session uint64 `json:"session"`
	Client  string `json:"client,omitempty"`
	Mode    string `json:"mode,omitempty"`
	Note    string `json:"note,omitempty"`
	ForMS   int64  `json:"for_ms"`
}

// holders shows who holds a structure of a kind, and who waits for it.
func holders(r *request, k structures.Kind) (any, error) {
	h := structures.NewHandle(r.client, &k, r.name, nil)
	i, err := h.Inspect(r.ctx)
	if err != nil {
		return nil, err
	}
	holds, waiters := []holder{}, []holder{}
	for _, x := range i.Holders {
		holds = append(holds, holder{uint64(x.ID), uint64(x.Token), uint64(x.Session), x.Client, x.Mode, x.Note, x.For.Milliseconds()})
	}
	for _, x := range i.Waiters {
		waiters = append(waiters, holder{0, 0, uint64(x.Session), x.Client, x.Mode, x.Note, x.For.Milliseconds()})
	}
	return map[string]any{k.Name: r.name, "holders": holds, "waiting": i.Waiting, "waiters": waiters}, nil
}

func members(r *request) (any, error) {
	all, err := r.client.Members(r.ctx)
	if err != nil {
		return nil, err
	}
	type member struct {
		ID      uint64 `json:"id"`
		Name    string `json:"name"`
		Address string `json:"address"`
		State   string `json:"state"`
	}
	list := []member{}
	for _, m := range all {
		list = append(list, member{uint64(m.ID), m.Name, m.Address, m.State})
	}
	return map[string]any{"members": list}, nil
}
