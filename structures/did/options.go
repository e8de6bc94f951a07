package did

import (
	"fmt"
	"time"

	"github.com/quorate/quorate"
)

// Option changes how a [Sequence] reserves ids. The zero Option changes nothing.
type Option struct{ apply func(*options) }

type options struct {
	block  int64
	maxAge time.Duration
}

// DefaultBlock is the size of a block without the option [Block].
const DefaultBlock = 1000

// Block sets how many ids are reserved at a time, 1 to [MaxBlock]; [DefaultBlock] without
// it. With 1 each id is a request of its own.
func Block(n int64) Option { return Option{func(o *options) { o.block = n }} }

// MaxAge drops what is left of a block that was reserved longer ago: ids are then in the
// order of their time, but for d. 0, the default: a block is used up.
func MaxAge(d time.Duration) Option { return Option{func(o *options) { o.maxAge = d }} }

// optionsOf returns what options ask for. The error is [quorate.ErrInvalid].
func optionsOf(opts []Option) (options, error) {
	o := options{block: DefaultBlock}
	for _, opt := range opts {
		if opt.apply != nil {
			opt.apply(&o)
		}
	}
	switch {
	case o.block < 1 || o.block > MaxBlock:
		return o, fmt.Errorf("%w: a block of %d ids, not within 1 to %d", quorate.ErrInvalid, o.block, MaxBlock)
	case o.maxAge < 0:
		return o, fmt.Errorf("%w: a largest age of %v", quorate.ErrInvalid, o.maxAge)
	}
	return o, nil
}
