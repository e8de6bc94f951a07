package drwlock_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/drwlock"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	c := structurestest.Example(drwlock.Kind()) // in an application: client.Dial
	ctx := context.Background()

	catalogue := drwlock.New(c, "catalogue")
	first, err := catalogue.RLock(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	second, ok, err := catalogue.TryRLock(ctx)
	fmt.Println("another reader:", ok, err)
	_, ok, err = catalogue.TryLock(ctx)
	fmt.Println("a writer:", ok, err)
	fmt.Println(first.Release(ctx), second.Release(ctx))
	err = catalogue.Do(ctx, func(context.Context, protocol.Token) error {
		_, ok, err := catalogue.TryRLock(ctx)
		fmt.Println("a reader beside the writer:", ok, err)
		return nil
	})
	fmt.Println(err)
	// Output:
	// another reader: true <nil>
	// a writer: false <nil>
	// <nil> <nil>
	// a reader beside the writer: false <nil>
	// <nil>
}

// Curator's InterProcessReadWriteLock lets a writer acquire the read lock before it releases
// the write lock; that is Downgrade. The only reader becomes a writer with TryUpgrade, which
// Curator has not.
func Example_readWriteLock() {
	c := structurestest.Example(drwlock.Kind()) // in an application: client.Dial
	ctx := context.Background()

	catalogue := drwlock.New(c, "catalogue")
	writing, err := catalogue.Lock(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	reading, err := catalogue.Downgrade(ctx, writing)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the former has ended:", writing.Context().Err() != nil)
	writing, ok, err := catalogue.TryUpgrade(ctx, reading)
	fmt.Println("upgraded:", ok, err)
	fmt.Println(writing.Token() > reading.Token(), writing.Release(ctx))
	// Output:
	// the former has ended: true
	// upgraded: true <nil>
	// true <nil>
}
