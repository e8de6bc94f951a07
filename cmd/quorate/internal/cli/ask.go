package cli

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

// Ask asks one member an operator's question and decodes the answer.
func Ask(ctx context.Context, address, what string, answer any) error {
	b, err := client.Ask(ctx, address, what, nil, client.WithName("quorate"))
	if err != nil {
		return err
	}
	return protocol.DecodeAnswer(b, answer)
}

// Answer is what a member answered, or why it did not.
type Answer struct {
	Address string
	Status  protocol.Status
	Err     error
}

// AskAll asks the endpoints, and the members they know of, for their status.
func AskAll(ctx context.Context, endpoints []string, timeout time.Duration) []Answer {
	asked := map[string]bool{}
	var all []Answer
	for next := endpoints; len(next) > 0; {
		var round []Answer
		for _, address := range next {
			if !asked[address] {
				asked[address] = true
				round = append(round, Answer{Address: address})
			}
		}
		Each(round, func(a *Answer) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			a.Err = Ask(ctx, a.Address, protocol.AdminStatus, &a.Status)
		})
		all = append(all, round...)
		next = nil
		for _, a := range round {
			for _, m := range a.Status.Members {
				next = append(next, m.Address)
			}
		}
	}
	// A member may have been asked under two names.
	seen := map[string]bool{}
	var once []Answer
	for _, a := range all {
		if a.Err == nil {
			if seen[a.Status.Address] {
				continue
			}
			seen[a.Status.Address] = true
		}
		once = append(once, a)
	}
	return once
}

// Each runs f for all elements at once.
func Each[T any](s []T, f func(*T)) {
	var all sync.WaitGroup
	for i := range s {
		all.Go(func() { f(&s[i]) })
	}
	all.Wait()
}

// Nobody is the error when no member has answered. An address that is none is the
// caller's fault.
func Nobody(answers []Answer) error {
	for _, a := range answers {
		if errors.Is(a.Err, quorate.ErrInvalid) {
			return a.Err
		}
	}
	e := &quorate.Error{Op: "status", Cause: quorate.ErrUnavailable}
	for _, a := range answers {
		if e.Detail != "" {
			e.Detail += "; "
		}
		e.Detail += fmt.Sprintf("%s: %v", a.Address, a.Err)
	}
	return e
}
