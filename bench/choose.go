package bench

import (
	"math"
	"math/rand/v2"
)

// chooser chooses one of n things. It belongs to one worker.
type chooser interface {
	next() int
}

func newChooser(d Distribution, n int, seed, stream uint64) chooser {
	r := rand.New(rand.NewPCG(seed, stream))
	if d == Zipfian {
		return &scrambledZipfian{rand: r, n: uint64(n)}
	}
	return &uniform{rand: r, n: n}
}

type uniform struct {
	rand *rand.Rand
	n    int
}

func (u *uniform) next() int { return u.rand.IntN(u.n) }

// scrambledZipfian is YCSB's ScrambledZipfianGenerator: a Zipfian choice among
// ten billion items (Gray et al., "Quickly Generating Billion-Record Synthetic
// Databases", 1994), hashed onto n.
type scrambledZipfian struct {
	rand *rand.Rand
	n    uint64
}

// The constants of a Zipfian distribution over zipfItems items.
const (
	zipfItems = 10_000_000_000
	zipfTheta = 0.99
	zipfZetaN = 26.46902820178302 // sum of 1/i^theta for i to zipfItems, as in YCSB
)

var (
	zipfZeta2 = 1 + math.Pow(0.5, zipfTheta)
	zipfAlpha = 1 / (1 - zipfTheta)
	zipfEta   = (1 - math.Pow(2.0/zipfItems, 1-zipfTheta)) / (1 - zipfZeta2/zipfZetaN)
)

func (z *scrambledZipfian) next() int { return int(fnv64(z.rank()) % z.n) }

// rank returns the rank of the item chosen: 0 is the most popular.
func (z *scrambledZipfian) rank() uint64 {
	u := z.rand.Float64()
	uz := u * zipfZetaN
	if uz < 1 {
		return 0
	}
	if uz < zipfZeta2 {
		return 1
	}
	return uint64(zipfItems * math.Pow(zipfEta*u-zipfEta+1, zipfAlpha))
}

// fnv64 is the 64-bit FNV-1a hash of the eight bytes of v.
func fnv64(v uint64) uint64 {
	const offset, prime = 0xcbf29ce484222325, 0x100000001b3
	h := uint64(offset)
	for range 8 {
		h = (h ^ v&0xff) * prime
		v >>= 8
	}
	return h
}
