package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/protocol"
)

// ask asks one member an operator's question and decodes the answer.
func ask(ctx context.Context, address, what string, answer any) error {
	b, err := client.Ask(ctx, address, what, nil, client.WithName("quorate"))
	if err != nil {
		return err
	}
	return protocol.DecodeAnswer(b, answer)
}

// answer is what a member answered, or why it did not.
type answer struct {
	address string
	status  protocol.Status
	err     error
}

// askAll asks the endpoints, and the members they know of, for their status.
func askAll(ctx context.Context, endpoints []string, timeout time.Duration) []answer {
	asked := map[string]bool{}
	var all []answer
	for next := endpoints; len(next) > 0; {
		var round []answer
		for _, address := range next {
			if !asked[address] {
				asked[address] = true
				round = append(round, answer{address: address})
			}
		}
		each(round, func(a *answer) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			a.err = ask(ctx, a.address, protocol.AdminStatus, &a.status)
		})
		all = append(all, round...)
		next = nil
		for _, a := range round {
			for _, m := range a.status.Members {
				next = append(next, m.Address)
			}
		}
	}
	// A member may have been asked under two names.
	seen := map[string]bool{}
	var once []answer
	for _, a := range all {
		if a.err == nil {
			if seen[a.status.Address] {
				continue
			}
			seen[a.status.Address] = true
		}
		once = append(once, a)
	}
	return once
}

// each runs f for all elements at once.
func each[T any](s []T, f func(*T)) {
	var all sync.WaitGroup
	for i := range s {
		all.Go(func() { f(&s[i]) })
	}
	all.Wait()
}

// nobody is the error when no member has answered. An address that is none is the
// caller's fault.
func nobody(answers []answer) error {
	for _, a := range answers {
		if errors.Is(a.err, quorate.ErrInvalid) {
			return a.err
		}
	}
	e := &quorate.Error{Op: "status", Cause: quorate.ErrUnavailable}
	for _, a := range answers {
		if e.Detail != "" {
			e.Detail += "; "
		}
		e.Detail += fmt.Sprintf("%s: %v", a.address, a.err)
	}
	return e
}
