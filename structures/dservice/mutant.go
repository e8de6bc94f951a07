//go:build mutants

package dservice

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorate/quorate/mutants"
)

// mutantUnordered lets others in between a change of an instance and what is sent of it.
func mutantUnordered(mu *sync.Mutex) {
	if !mutants.On(mutants.UpdateUnordered) {
		return
	}
	mu.Unlock()
	time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
	mu.Lock()
}
