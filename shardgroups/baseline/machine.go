package baseline

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/lni/dragonboat/v4/statemachine"
)

// keySize is the length of a key: the first bytes of a command.
const keySize = 10

// machine is a Go map. The baseline takes no snapshots.
type machine struct{ entries map[string][]byte }

func newMachine(uint64, uint64) statemachine.IConcurrentStateMachine {
	return &machine{entries: map[string][]byte{}}
}

func (m *machine) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	for i, e := range entries {
		m.entries[string(e.Cmd[:keySize])] = e.Cmd[keySize:]
		entries[i].Result = statemachine.Result{Value: 1}
	}
	return entries, nil
}

func (m *machine) Lookup(key any) (any, error) {
	k := binary.BigEndian.AppendUint64(nil, key.(uint64))
	return m.entries[string(append(k, 0, 0))], nil
}

var errNoSnapshots = errors.New("baseline: no snapshots")

func (m *machine) PrepareSnapshot() (any, error) { return nil, errNoSnapshots }

func (m *machine) SaveSnapshot(any, io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return errNoSnapshots
}

func (m *machine) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return errNoSnapshots
}

func (m *machine) Close() error { return nil }
