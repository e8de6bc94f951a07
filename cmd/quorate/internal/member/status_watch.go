package member

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
)

const watchEvery = 2 * time.Second

// clearScreen puts the cursor in the corner of a terminal and clears what is
// there.
const clearScreen = "\x1b[H\x1b[2J"

// watch prints the status again and again, until ctx ends: over and over in one
// place on a terminal, one after the other elsewhere. Nobody answering is a
// status, too.
func (cmd *StatusCommand) watch(ctx context.Context, a *cli.App) error {
	live := !a.JSON && cli.IsTerminal(a.Stdout)
	for {
		var page bytes.Buffer
		shown := *a
		shown.Stdout = &page
		err := cmd.once(ctx, &shown)
		if ctx.Err() != nil {
			return nil
		}
		if !a.JSON {
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
			a.Fail(err)
		}
		if _, err := a.Stdout.Write(page.Bytes()); err != nil {
			return fmt.Errorf("write to stdout: %w", err)
		}
		if contexts.Sleep(ctx, watchEvery) != nil {
			return nil
		}
	}
}
