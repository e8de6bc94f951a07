package dsemaphore

import (
	"math"

	"github.com/quorate/quorate/protocol"
)

// The operations of a semaphore. Numbers are never used again. Bodies and the
// results of operations are arrays of integers.
const (
	opInit       protocol.Op = 1 // [permits] -> []
	opAcquire    protocol.Op = 2 // [permits, milliseconds or 0: for ever] -> [token]; waits
	opTryAcquire protocol.Op = 3 // [permits] -> [token]
	opRelease    protocol.Op = 4 // [token] -> []
	opAvailable  protocol.Op = 5 // [] -> [permits]
	opDrain      protocol.Op = 6 // [] -> [permits]
	opAddPermits protocol.Op = 7 // [permits, may be negative] -> []
	opDestroy    protocol.Op = 8 // [] -> []
)

// opNames are the operations as logs and metrics call them.
var opNames = []string{
	opInit: "init", opAcquire: "acquire", opTryAcquire: "try_acquire", opRelease: "release",
	opAvailable: "available", opDrain: "drain", opAddPermits: "add_permits", opDestroy: "destroy",
}

// The codes of a semaphore's own.
const (
	codeNotInitialized = protocol.CodeRoom + 0
	codeTooMany        = protocol.CodeRoom + 1 // more than the semaphore has
	codeNone           = protocol.CodeRoom + 2 // too few permits are free, or others wait
	codeNotHeld        = protocol.CodeRoom + 3 // the session does not hold the token
)

// MaxPermits is how many permits a semaphore may have.
const MaxPermits = math.MaxInt32
