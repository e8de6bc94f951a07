// Command settings works at a rate that all of its processes follow: started three times, they
// change it together, also while a member of the grid is killed. A bad rate stops none of them.
//
//	quorate dev
//	go run ./examples/settings --file a.cbor        # in three terminals, each with a file of its own
//	quorate configure ref '{app}limits' keep=10
//	quorate ref set '{app}limits' '{"Rate": 20}'
//	quorate ref history '{app}limits'               # and back: quorate ref rollback '{app}limits' VERSION
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/structures/dref"
)

// Limits are the settings.
type Limits struct{ Rate int } // a second

// Check refuses what would stop the work.
func (l Limits) Check() error {
	if l.Rate <= 0 {
		return errors.New("the rate must be positive")
	}
	return nil
}

// settings is the name of the reference that has them.
const settings = "{app}limits"

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:7170", "addresses of the grid")
	file := flag.String("file", "limits.cbor", "where the last good settings are kept")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*endpoints, ","), *file); err != nil {
		log.Fatal(err)
	}
}

// run works until ctx ends, and prints each rate.
func run(ctx context.Context, endpoints []string, file string) error {
	c, err := client.Dial(ctx, endpoints)
	if err != nil {
		return err
	}
	defer c.Close()
	limits, err := config.Follow(ctx, config.Ref(dref.New[Limits](c, settings)),
		config.Default(Limits{Rate: 10}), config.Validate(Limits.Check), config.File(file), config.Wait(3*time.Second))
	if err != nil {
		return err
	}
	defer limits.Close()
	go work(ctx, limits)
	for l, err := range limits.Changes(ctx) {
		if err != nil {
			fmt.Println("rejected:", err)
			continue
		}
		fmt.Println("rate", l.Rate)
	}
	return nil
}

// work does something at the rate of now.
func work(ctx context.Context, limits *config.Value[Limits]) {
	for ctx.Err() == nil {
		// A call, a file, a message: whatever must not be done more often.
		select {
		case <-time.After(time.Second / time.Duration(limits.Load().Rate)):
		case <-ctx.Done():
		}
	}
}
