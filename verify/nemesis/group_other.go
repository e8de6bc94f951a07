//go:build !linux

package nemesis

import "errors"

// ControlGroup is a control group, which only Linux has.
type ControlGroup struct{}

// NewMemoryGroup makes a control group, if the system has them.
func NewMemoryGroup(string, int64) (*ControlGroup, error) {
	return nil, errors.New("control groups are of Linux")
}

// Through is the command through which another one is in the group.
func (*ControlGroup) Through() []string { return nil }

// Killed returns how many processes were ended for want of memory.
func (*ControlGroup) Killed() (int, error) { return 0, errors.ErrUnsupported }

// Remove removes the group.
func (*ControlGroup) Remove() error { return nil }
