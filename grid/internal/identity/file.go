package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/quorate/quorate/protocol"
)

// file is member.json as it is written, with UUIDs as text. It grows by keys. A key is
// never used again for something else.
type file struct {
	Format         int       `json:"format"`
	Name           string    `json:"name"`
	Incarnation    string    `json:"incarnation"`
	Starts         uint64    `json:"starts"`
	Cluster        string    `json:"cluster,omitempty"`
	ClusterName    string    `json:"cluster_name,omitempty"`
	Founder        string    `json:"founder,omitempty"`
	FounderAddress string    `json:"founder_address,omitempty"`
	Recovered      string    `json:"recovered,omitempty"`
	Formed         bool      `json:"formed"`
	Durability     string    `json:"durability,omitempty"`
	Partitions     uint32    `json:"partitions,omitempty"`
	Groups         uint32    `json:"groups,omitempty"`
	Replicas       uint32    `json:"replicas,omitempty"`
	Level          uint32    `json:"level,omitempty"`
	Started        []Replica `json:"started,omitempty"`
	Peers          []peer    `json:"peers,omitempty"`
	// Checksum is last: it covers the file as it is without it.
	Checksum string `json:"checksum,omitempty"`
}

type peer struct {
	Incarnation string `json:"incarnation"`
	Address     string `json:"address"`
	Voter       bool   `json:"voter,omitempty"`
	Run         uint64 `json:"run,omitempty"`
	Nonce       uint64 `json:"nonce,omitempty"`
}

func newFile(m *Member) *file {
	f := &file{
		Format: m.Format, Name: m.Name, Incarnation: m.Incarnation.String(), Starts: m.Starts,
		Cluster: text(m.Cluster), ClusterName: m.ClusterName,
		Founder: text(m.Founder), FounderAddress: m.FounderAddress, Recovered: text(m.Recovered), Formed: m.Formed,
		Durability: m.Durability, Partitions: m.Partitions, Groups: m.Groups, Replicas: m.Replicas,
		Level: m.Level, Started: m.Started,
	}
	for _, p := range m.Peers {
		f.Peers = append(f.Peers, peer{p.Incarnation.String(), p.Address, p.Voter, p.Run.Number, p.Run.Nonce})
	}
	return f
}

func (f *file) member() (Member, error) {
	m := Member{
		Format: f.Format, Name: f.Name, Starts: f.Starts, ClusterName: f.ClusterName,
		FounderAddress: f.FounderAddress, Formed: f.Formed,
		Durability: f.Durability, Partitions: f.Partitions, Groups: f.Groups, Replicas: f.Replicas,
		Level: f.Level, Started: f.Started,
	}
	var errs [4]error
	m.Incarnation, errs[0] = parse(f.Incarnation)
	m.Cluster, errs[1] = parse(f.Cluster)
	m.Founder, errs[2] = parse(f.Founder)
	m.Recovered, errs[3] = parse(f.Recovered)
	if err := errors.Join(errs[:]...); err != nil {
		return m, err
	}
	for _, p := range f.Peers {
		u, err := parse(p.Incarnation)
		if err != nil {
			return m, err
		}
		m.Peers = append(m.Peers, Peer{u, p.Address, p.Voter, Run{p.Run, p.Nonce}})
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

// The checksum stands in the last line before the closing brace.
const (
	checksumStart = ",\n  \"checksum\": \""
	checksumEnd   = "\"\n}\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of member.json as it is without one.
func checksum(b []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)) }

func encode(m *Member) ([]byte, error) {
	f := newFile(m)
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", fileName, err)
	}
	f.Checksum = checksum(append(b, '\n'))
	b, err = json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", fileName, err)
	}
	return append(b, '\n'), nil
}

// verify compares the file's content with the checksum in it.
func verify(b []byte) error {
	i := bytes.LastIndex(b, []byte(checksumStart))
	if i < 0 || !bytes.HasSuffix(b, []byte(checksumEnd)) {
		return errors.New("it has no checksum")
	}
	has := string(bytes.TrimSuffix(b[i+len(checksumStart):], []byte(checksumEnd)))
	if content := append(bytes.Clone(b[:i]), "\n}\n"...); has != checksum(content) {
		return errors.New("its checksum does not fit its content")
	}
	return nil
}

// decode reads member.json. It checks the format before anything else, because a later
// version may write another file, and an older one has. In a file of this format
// unknown keys are skipped, and the next Update drops them; missing keys are zero. A
// key that must not be dropped needs a new format.
func decode(b []byte) (Member, error) {
	damaged := func(err error) (Member, error) {
		return Member{}, fmt.Errorf("damaged: %w: restore it, or start with an empty directory", err)
	}
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return damaged(err)
	}
	if head.Format > Format {
		return Member{}, fmt.Errorf("format %d is newer than this version of Quorate reads (%d): start the version that wrote it, or a later one", head.Format, Format)
	}
	if head.Format > 0 && head.Format < Format {
		return Member{}, fmt.Errorf("format %d is older than this version of Quorate reads (%d): start the version that wrote it, or start with an empty directory", head.Format, Format)
	}
	if err := verify(b); err != nil {
		return damaged(err)
	}
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return damaged(err)
	}
	m, err := f.member()
	if err != nil {
		return damaged(err)
	}
	return m, nil
}
