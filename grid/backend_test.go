package grid

import (
	"sync"
	"testing"
)

// TestStatus_EngineGoes: a member that is asked for its status just when it forgets its cluster
// answers.
func TestStatus_EngineGoes(t *testing.T) {
	m, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", HTTP: HTTPOff, Durability: Memory})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := m.coordinator.Engine()
	asked := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-asked:
					return
				default:
					m.Status()
				}
			}
		})
	}
	for range 10_000 {
		m.coordinator.SetEngine(nil)
		m.coordinator.SetEngine(e)
	}
	close(asked)
	asking.Wait()
}
