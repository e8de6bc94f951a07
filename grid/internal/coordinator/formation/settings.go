package formation

import (
	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
)

// Settings are what this member wants of its cluster. A zero field takes what
// the cluster has, and the default if this member founds.
type Settings struct {
	Durability string
	Partitions int
	Groups     int
	Replicas   int
}

// Defaults of a cluster that sets nothing.
const (
	DefaultClusterName = "quorate"
	DefaultGroups      = 3
	DefaultReplicas    = 3
)

// agree returns a fatal error if a cluster is not as this member wants it.
func (c *Controller) agree(name string, s peers.Settings) error {
	return agree(c.cfg.ClusterName, c.cfg.Settings, name, s)
}

// agree returns a fatal error if a cluster is not as is wanted. A zero value on either
// side has no opinion.
func agree(wantName string, want Settings, name string, s peers.Settings) error {
	if w := wantName; w != "" && name != "" && w != name {
		return membership.Fatalf("%w: the cluster is called %q, this member was started for %q: give it the right --cluster or --join, or another data directory", quorate.ErrInvalid, name, w)
	}
	if w := want.Durability; w != "" && s.Durability != "" && w != s.Durability {
		return membership.Fatalf("%w: the cluster's durability is %s, this member was started with %s: it is fixed at the cluster's first start", quorate.ErrInvalid, s.Durability, w)
	}
	for _, x := range []struct {
		what       string
		have, want int
	}{
		{"partitions", int(s.Partitions), want.Partitions},
		{"groups", int(s.Groups), want.Groups},
		{"replicas", int(s.Replicas), want.Replicas},
	} {
		if x.have != 0 && x.want != 0 && x.have != x.want {
			return membership.Fatalf("%w: the cluster has %d %s, this member was started with %d: they are fixed at the cluster's first start", quorate.ErrInvalid, x.have, x.what, x.want)
		}
	}
	return nil
}

// Agrees returns an error if a member's cluster is not as a configuration wants it.
func Agrees(m *identity.Member, name string, want Settings) error {
	return agree(name, want, m.ClusterName, settingsOf(m))
}

// settingsOf returns the settings of its cluster that a member remembers.
func settingsOf(m *identity.Member) peers.Settings {
	return peers.Settings{Durability: m.Durability, Partitions: m.Partitions, Groups: m.Groups, Replicas: m.Replicas}
}

// wanted returns the settings as they go to other members.
func (s Settings) wanted() peers.Settings {
	return peers.Settings{Durability: s.Durability, Partitions: uint32(s.Partitions), Groups: uint32(s.Groups), Replicas: uint32(s.Replicas)}
}
