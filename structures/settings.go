package structures

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/nearest"
	"github.com/quorate/quorate/protocol"
)

// SettingInfo describes one setting: see [Handle.Configure].
type SettingInfo struct {
	Name    string
	Type    SettingType
	Default SettingValue // in force if the setting is not given
	Help    string       // what it does, in a sentence without its full stop
}

// SettingType says which values a setting has.
type SettingType uint8

// The types of settings. A duration is milliseconds on the wire.
const (
	SettingInt SettingType = iota + 1
	SettingDuration
	SettingText
)

// String names the type.
func (t SettingType) String() string {
	switch t {
	case SettingInt:
		return "integer"
	case SettingDuration:
		return "duration"
	case SettingText:
		return "text"
	}
	return "unknown"
}

// SettingValue is the value of a setting: Int of an integer or a duration, or, with
// IsText, Text.
type SettingValue struct {
	Int    int64
	Text   string
	IsText bool
}

// Format returns a value of the setting, human-readable: "1h0m0s".
func (i *SettingInfo) Format(v SettingValue) string {
	switch {
	case v.IsText:
		return v.Text
	case i.Type == SettingDuration && v.Int <= math.MaxInt64/int64(time.Millisecond) && v.Int >= math.MinInt64/int64(time.Millisecond):
		return (time.Duration(v.Int) * time.Millisecond).String()
	}
	return fmt.Sprint(v.Int)
}

// Parse reads a value of the setting as Format writes it, or in another form of it, such
// as 90s. The error is [quorate.ErrInvalid].
func (i *SettingInfo) Parse(text string) (SettingValue, error) {
	fail := func(want string) (SettingValue, error) {
		return SettingValue{}, fmt.Errorf("%w: the setting %s=%.64s: want %s", quorate.ErrInvalid, i.Name, text, want)
	}
	switch i.Type {
	case SettingText:
		return SettingValue{Text: text, IsText: true}, nil
	case SettingDuration:
		d, err := time.ParseDuration(text)
		if err != nil || d%time.Millisecond != 0 {
			return fail("a duration in whole milliseconds, such as 1h30m, 90s or 500ms")
		}
		return SettingValue{Int: d.Milliseconds()}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fail("an integer of 64 bits")
	}
	return SettingValue{Int: n}, nil
}

// Setting is a setting with a value.
type Setting struct {
	Name  string
	Value SettingValue
}

// Settings are the settings of a structure as Configure set them. A nil *Settings
// belongs to a structure without any: all have their defaults.
type Settings struct {
	// Version is that of the mutation that set them, in the partition of the structure's
	// name. Of two the settings with the larger one are in force.
	Version protocol.Version
	// List has those that are not at their defaults, by name.
	List []Setting
}

// Value returns the value in force of a setting.
func (s *Settings) Value(info *SettingInfo) SettingValue {
	if s != nil {
		for i := range s.List {
			if s.List[i].Name == info.Name {
				return s.List[i].Value
			}
		}
	}
	return info.Default
}

// Equal reports whether two have the same values. Their versions do not matter.
func (s *Settings) Equal(o *Settings) bool { return slices.Equal(s.List, o.List) }

// Append appends the settings as an array: the version, and names with values.
func (s *Settings) Append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 1+2*len(s.List)), uint64(s.Version))
	return appendSettings(dst, s.List)
}

func appendSettings(dst []byte, list []Setting) []byte {
	for _, set := range list {
		dst = protocol.AppendString(dst, set.Name)
		if set.Value.IsText {
			dst = protocol.AppendString(dst, set.Value.Text)
		} else {
			dst = protocol.AppendInt(dst, set.Value.Int)
		}
	}
	return dst
}

// Encoded returns what Append writes, nil for nil.
func (s *Settings) Encoded() []byte {
	if s == nil {
		return nil
	}
	return s.Append(nil)
}

// ReadSettings reads what Append wrote. It knows no kind: names and values may be
// any.
func ReadSettings(b []byte) (*Settings, error) {
	r := protocol.NewReader(b)
	n := r.ArrayLen()
	if n%2 == 0 {
		r.Fail()
	}
	s := &Settings{Version: protocol.Version(r.Uint())}
	s.List = readSettings(&r, n/2)
	return s, r.Done()
}

// readSettings reads names with values; the names ascend.
func readSettings(r *protocol.Reader, n int) (list []Setting) {
	for i := range n {
		set := Setting{Name: strings.Clone(r.String())}
		if set.Value.IsText = r.AtString(); set.Value.IsText {
			set.Value.Text = strings.Clone(r.String())
		} else {
			set.Value.Int = r.Int()
		}
		if i > 0 && list[i-1].Name >= set.Name {
			r.Fail()
		}
		if r.Err() != nil {
			return nil
		}
		list = append(list, set)
	}
	return list
}

// Configurer is implemented by a Machine that checks more of its settings than their
// types, such as a range.
type Configurer interface {
	// CheckSettings reports why settings with known names and right types cannot be set.
	// The leader calls it before the request is logged.
	CheckSettings(s *Settings) error
}

// appendConfigure appends the body of OpConfigure; the names ascend.
func appendConfigure(dst []byte, list []Setting) []byte {
	return appendSettings(protocol.AppendArray(dst, 2*len(list)), list)
}

// lastByName returns settings by their names, of each name the last.
func lastByName(list []Setting) []Setting {
	var sorted []Setting
	for _, set := range list {
		i, found := slices.BinarySearchFunc(sorted, set.Name, func(s Setting, name string) int { return strings.Compare(s.Name, name) })
		if !found {
			sorted = slices.Insert(sorted, i, set)
		}
		sorted[i] = set
	}
	return sorted
}

// ReadConfigure reads the body of OpConfigure or OpAdopt, and checks it for the kind.
// The result has no values that are the default.
func (k *Kind) ReadConfigure(op protocol.Op, body []byte) (*Settings, error) {
	s := &Settings{}
	r := protocol.NewReader(body)
	n := r.ArrayLen()
	if op == OpAdopt {
		s.Version = protocol.Version(r.Uint())
		n--
	}
	if n < 0 || n%2 != 0 {
		r.Fail()
	}
	s.List = readSettings(&r, n/2)
	if err := r.Done(); err != nil {
		return nil, err
	}
	if len(k.Settings) == 0 {
		return nil, k.UnknownSetting("")
	}
	for _, set := range s.List {
		info := k.Setting(set.Name)
		switch {
		case info == nil:
			return nil, k.UnknownSetting(set.Name)
		case set.Value.IsText != (info.Type == SettingText):
			return nil, fmt.Errorf("%w: the setting %s is not of the type %v", quorate.ErrInvalid, set.Name, info.Type)
		}
	}
	s.List = slices.DeleteFunc(s.List, func(set Setting) bool { return set.Value == k.Setting(set.Name).Default })
	if c, ok := k.Machine.(Configurer); ok {
		return s, c.CheckSettings(s)
	}
	return s, nil
}

// Setting returns the description of a setting; nil: there is none.
func (k *Kind) Setting(name string) *SettingInfo {
	for i := range k.Settings {
		if k.Settings[i].Name == name {
			return &k.Settings[i]
		}
	}
	return nil
}

// UnknownSetting is the error of a name that no setting of the kind has: a
// [quorate.ErrInvalid] that suggests the name that may be meant.
func (k *Kind) UnknownSetting(name string) error {
	if len(k.Settings) == 0 {
		return fmt.Errorf("%w: the kind %s has no settings", quorate.ErrInvalid, k.Name)
	}
	names := make([]string, len(k.Settings))
	for i := range names {
		names[i] = k.Settings[i].Name
	}
	text := fmt.Sprintf("a %s has no setting %.64q; it has %s", k.Name, name, strings.Join(names, ", "))
	if near := nearest.Name(name, names); near != "" {
		text = fmt.Sprintf("a %s has no setting %.64q: is it %s?", k.Name, name, near)
	}
	return fmt.Errorf("%w: %s", quorate.ErrInvalid, text)
}

// InForce returns all settings of the kind with their values in force.
func (k *Kind) InForce(s *Settings) []Setting {
	list := make([]Setting, len(k.Settings))
	for i := range list {
		list[i] = Setting{k.Settings[i].Name, s.Value(&k.Settings[i])}
	}
	return list
}

// FormatSettings returns the settings in force, human-readable: "capacity 5, ttl
// 1h0m0s".
func (k *Kind) FormatSettings(s *Settings) string {
	var b strings.Builder
	for i := range k.Settings {
		if i > 0 {
			b.WriteString(", ")
		}
		info := &k.Settings[i]
		fmt.Fprintf(&b, "%s %s", info.Name, info.Format(s.Value(info)))
	}
	return b.String()
}
