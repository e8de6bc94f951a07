package grid

import (
	"errors"

	"github.com/quorate/quorate/grid/internal/coordinator/formation"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
)

// Check returns everything that would keep a member of this configuration from
// starting: the problems that Validate finds, a data directory that cannot be used or
// belongs to another cluster, and addresses that are in use. It starts nothing and
// changes nothing. It fails while a member runs with the same configuration, because
// that member holds the directory and the addresses.
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
	v, err := listenViews(&cfg, member, cfg.Logger)
	return errors.Join(append(problems, err, v.close())...)
}

// settings returns the settings of the cluster that the configuration asks for.
func (c *Config) settings() formation.Settings {
	return formation.Settings{
		Durability: string(c.Durability), Partitions: c.Partitions, Groups: c.Groups, Replicas: c.Replicas,
	}
}
