package identity

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/protocol"
)

// file is member.json as it is written: UUIDs as text.
type file struct {
	Format         int       `json:"format"`
	Name           string    `json:"name"`
	Incarnation    string    `json:"incarnation"`
	Starts         uint64    `json:"starts"`
	Cluster        string    `json:"cluster,omitempty"`
	ClusterName    string    `json:"cluster_name,omitempty"`
	Founder        string    `json:"founder,omitempty"`
	FounderAddress string    `json:"founder_address,omitempty"`
	Formed         bool      `json:"formed"`
	Durability     string    `json:"durability,omitempty"`
	Partitions     uint32    `json:"partitions,omitempty"`
	Groups         uint32    `json:"groups,omitempty"`
	Replicas       uint32    `json:"replicas,omitempty"`
	Started        []Replica `json:"started,omitempty"`
	Peers          []peer    `json:"peers,omitempty"`
}

type peer struct {
	Incarnation string `json:"incarnation"`
	Address     string `json:"address"`
}

func newFile(m *Member) *file {
	f := &file{
		Format: m.Format, Name: m.Name, Incarnation: m.Incarnation.String(), Starts: m.Starts,
		Cluster: text(m.Cluster), ClusterName: m.ClusterName,
		Founder: text(m.Founder), FounderAddress: m.FounderAddress, Formed: m.Formed,
		Durability: m.Durability, Partitions: m.Partitions, Groups: m.Groups, Replicas: m.Replicas,
		Started: m.Started,
	}
	for _, p := range m.Peers {
		f.Peers = append(f.Peers, peer{p.Incarnation.String(), p.Address})
	}
	return f
}

func (f *file) member() (Member, error) {
	m := Member{
		Format: f.Format, Name: f.Name, Starts: f.Starts, ClusterName: f.ClusterName,
		FounderAddress: f.FounderAddress, Formed: f.Formed,
		Durability: f.Durability, Partitions: f.Partitions, Groups: f.Groups, Replicas: f.Replicas,
		Started: f.Started,
	}
	var errs [3]error
	m.Incarnation, errs[0] = parse(f.Incarnation)
	m.Cluster, errs[1] = parse(f.Cluster)
	m.Founder, errs[2] = parse(f.Founder)
	if err := errors.Join(errs[:]...); err != nil {
		return m, err
	}
	for _, p := range f.Peers {
		u, err := parse(p.Incarnation)
		if err != nil {
			return m, err
		}
		m.Peers = append(m.Peers, Peer{u, p.Address})
	}
	if m.Format != Format || m.Incarnation == (protocol.UUID{}) {
		return m, fmt.Errorf("format %d without incarnation", m.Format)
	}
	return m, nil
}

func text(u protocol.UUID) string {
	if u == (protocol.UUID{}) {
		return ""
	}
	return u.String()
}

func parse(s string) (protocol.UUID, error) {
	if s == "" {
		return protocol.UUID{}, nil
	}
	return protocol.ParseUUID(s)
}
