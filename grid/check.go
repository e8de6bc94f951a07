package grid

import (
	"errors"

	"github.com/quorate/quorate/grid/internal/coordinator/formation"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
)

// Check returns all that would keep a member of this configuration from
// starting: what Validate finds, a data directory that cannot be used or is of
// another cluster, addresses that are taken. It starts nothing and changes
// nothing. A member that runs with the same configuration is in its way.
func Check(cfg Config) error {
	problems := []error{cfg.Validate()}
	cfg.setDefaults()
	if cfg.Durability != Memory && cfg.DataDir != "" {
		m, err := identity.Check(cfg.DataDir)
		problems = append(problems, err)
		if err == nil {
			problems = append(problems, formation.Agrees(&m, cfg.Cluster, cfg.settings()))
		}
	}
	member := cfg.Listen
	listener, packets, err := (&network.Network{}).Listen(cfg.Listen)
	if err != nil {
		problems = append(problems, err)
	} else {
		member = listener.Addr().String()
		defer listener.Close()
		defer packets.Close()
	}
	l, err := listenHTTP(cfg.HTTP, member, cfg.Logger)
	problems = append(problems, err)
	if l != nil {
		problems = append(problems, l.Close())
	}
	return errors.Join(problems...)
}

// settings are what the configuration wants of its cluster.
func (c *Config) settings() formation.Settings {
	return formation.Settings{
		Durability: string(c.Durability), Partitions: c.Partitions, Groups: c.Groups, Replicas: c.Replicas,
	}
}
