package dsemaphore

import (
	"math"
	"time"

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

// The codes of a semaphore's own.
const (
	codeNotInitialized = protocol.CodeRoom + 0
	codeTooMany        = protocol.CodeRoom + 1 // more than the semaphore has
	codeNone           = protocol.CodeRoom + 2 // too few permits are free, or others wait
	codeNotHeld        = protocol.CodeRoom + 3 // the session does not hold the token
)

// MaxPermits is how many permits a semaphore may have.
const MaxPermits = math.MaxInt32

// maxWait is the longest wait that has an end.
const maxWait = 10 * 365 * 24 * time.Hour

// milliseconds returns d as a wait on the wire, where 0 has no end.
func milliseconds(d time.Duration) int64 {
	return int64((min(d, maxWait) + time.Millisecond - 1) / time.Millisecond)
}

func appendInts(dst []byte, ints ...int64) []byte {
	dst = protocol.AppendArray(dst, len(ints))
	for _, n := range ints {
		dst = protocol.AppendInt(dst, n)
	}
	return dst
}

// readInts reads an array of exactly as many integers as there are places.
func readInts(b []byte, into ...*int64) error {
	r := protocol.NewReader(b)
	r.Array(len(into))
	for _, n := range into {
		*n = r.Int()
	}
	return r.Done()
}
