package coordinator

import (
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// engine is a shardgroups.Host as the controllers see it.
type engine struct{ *shardgroups.Host }

func openEngine(cfg shardgroups.Config) (membership.Engine, error) {
	h, err := shardgroups.Open(cfg)
	if err != nil {
		return nil, err
	}
	return engine{h}, nil
}

func (e engine) System() membership.System { return e.Host.System() }

func (e engine) Group(id protocol.GroupID) membership.Group {
	if g := e.Host.Group(id); g != nil {
		return g
	}
	return nil
}
