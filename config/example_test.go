package config_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/structurestest"
)

// What Consul's KV with consul-template, watches of etcd, Curator's NodeCache and
// Hazelcast's listeners are used for: settings that all processes follow.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := structurestest.Example(dref.Kind()) // in an application: client.Dial

	type limits struct{ Rate int }
	positive := func(l limits) error {
		if l.Rate <= 0 {
			return errors.New("the rate is not positive")
		}
		return nil
	}
	v, err := config.Follow(ctx, config.Ref(dref.New[limits](c, "{app}limits")),
		config.Default(limits{Rate: 100}), config.Validate(positive))
	if err != nil {
		fmt.Println(err)
		return
	}
	for l, err := range v.Changes(ctx) {
		fmt.Println(l.Rate, err)
		switch l.Rate {
		case 100:
			_, err = v.Publish(ctx, v.State().Version, limits{Rate: 200})
		case 200:
			_, err = v.Publish(ctx, v.State().Version, limits{Rate: -1})
			cancel()
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// 100 <nil>
	// 200 <nil>
	// the value is rejected: the rate is not positive
}
