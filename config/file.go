package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// fileForm is the first element of a file. Another form gets another number.
const fileForm = 1

// save writes a value that was taken: a file beside it first, which is synced and then takes
// its place, so that a crash leaves the old one or the new one.
func save[T any](path string, s *seen[T]) error {
	value, err := structures.AppendValue(nil, structures.CBOR, *s.value)
	if err != nil {
		return err
	}
	b := protocol.AppendUint(protocol.AppendArray(nil, 5), fileForm)
	b = protocol.AppendBytes(b, s.cluster[:])
	b = protocol.AppendUint(b, uint64(s.version))
	b = protocol.AppendArray(b, 2*len(s.at))
	for id, v := range s.at {
		b = protocol.AppendUint(protocol.AppendUint(b, uint64(id)), uint64(v))
	}
	b = protocol.AppendBytes(b, value)

	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // with mode 0600
	if err != nil {
		return fmt.Errorf("keep the settings: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep the settings: %w", err)
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil { // some systems cannot sync one
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// load reads what save wrote; nil: there is no file.
func load[T any](path string) (*seen[T], error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings that were kept: %w", err)
	}
	s := seen[T]{at: positions{}}
	r := protocol.NewReader(b)
	r.Array(5)
	form, cluster := r.Uint(), r.Bytes()
	s.version = Version(r.Uint())
	n := r.ArrayLen()
	for range n / 2 {
		id := protocol.PartitionID(r.Uint32())
		s.at[id] = Version(r.Uint())
	}
	value := r.Bytes()
	if form != fileForm || len(cluster) != len(s.cluster) || n%2 != 0 {
		r.Fail()
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: the file %s: %w", quorate.ErrCodec, path, err)
	}
	copy(s.cluster[:], cluster)
	s.value = new(T)
	if err := structures.DecodeValue(structures.CBOR, value, s.value); err != nil {
		return nil, fmt.Errorf("the file %s: %w", path, err)
	}
	return &s, nil
}
