package main

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

const watchEvery = 2 * time.Second

// clearScreen puts the cursor in the corner of a terminal and clears what is
// there.
const clearScreen = "\x1b[H\x1b[2J"

// watch prints the status again and again, until ctx ends: over and over in one
// place on a terminal, one after the other elsewhere. Nobody answering is a
// status, too.
func (cmd *statusCommand) watch(ctx context.Context, a *app) error {
	live := !a.json && isTerminal(a.stdout)
	for {
		var page bytes.Buffer
		shown := *a
		shown.stdout = &page
		err := cmd.once(ctx, &shown)
		if ctx.Err() != nil {
			return nil
		}
		if !a.json {
			at := time.Now().Format(time.TimeOnly)
			head := fmt.Sprintf("%s  every %v, until a signal\n\n", at, watchEvery)
			if live {
				head = clearScreen + head
			}
			page = *bytes.NewBufferString(head + page.String())
			if err != nil {
				fmt.Fprintf(&page, "! %v\n", err)
			}
			if !live {
				fmt.Fprintln(&page)
			}
		} else if err != nil {
			a.fail(err)
		}
		if _, err := a.stdout.Write(page.Bytes()); err != nil {
			return fmt.Errorf("write to stdout: %w", err)
		}
		if sleep(ctx, watchEvery) != nil {
			return nil
		}
	}
}
