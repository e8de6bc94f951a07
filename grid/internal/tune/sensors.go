package tune

import (
	"context"

	"github.com/quorate/quorate/grid/internal/memory"
)

// Sensors replace a member's measurements of its process and its machine, and change
// how its machine behaves. Nil fields change nothing.
type Sensors struct {
	Memory func() memory.Sample
	Disk   func(dir string) (free, size uint64, err error)
	// MemberFile is called before each write of member.json after the first.
	MemberFile func()
}

type sensorsKey struct{}

// WithSensors returns a context that carries s to the members started with it.
func WithSensors(ctx context.Context, s *Sensors) context.Context {
	return context.WithValue(ctx, sensorsKey{}, s)
}

// SensorsFrom returns the sensors that ctx carries, none if it carries none.
func SensorsFrom(ctx context.Context) *Sensors {
	if s, ok := ctx.Value(sensorsKey{}).(*Sensors); ok {
		return s
	}
	return &Sensors{}
}
