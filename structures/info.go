package structures

import (
	"slices"

	"github.com/quorate/quorate/protocol"
)

// Info returns the description of the kind that members send to clients that do not
// know it.
func (k *Kind) Info() protocol.KindInfo {
	info := protocol.KindInfo{
		ID: uint64(k.ID), Name: k.Name, Level: uint64(k.Level), Doc: k.Doc, Unit: k.Unit, Keyed: k.Keyed,
		Settings: []protocol.SettingInfo{},
	}
	for _, s := range k.Settings {
		info.Settings = append(info.Settings, protocol.SettingInfo{
			Name: s.Name, Type: s.Type.String(), Default: s.Default.Int, Text: s.Default.Text, Help: s.Help,
		})
	}
	return info
}

// KindOf returns the kind that Info described. It has no Machine, codes or operations of
// its own, but serves for a Handle and the operations that every kind has. Settings of
// an unknown type are left out.
func KindOf(info protocol.KindInfo) Kind {
	k := Kind{
		ID: protocol.KindID(info.ID), Name: info.Name, Level: uint32(info.Level), Doc: info.Doc, Unit: info.Unit, Keyed: info.Keyed,
	}
	types := []SettingType{SettingInt, SettingDuration, SettingText}
	for _, s := range info.Settings {
		i := slices.IndexFunc(types, func(t SettingType) bool { return t.String() == s.Type })
		if i < 0 {
			continue
		}
		v := SettingValue{Int: s.Default}
		if types[i] == SettingText {
			v = SettingValue{Text: s.Text, IsText: true}
		}
		k.Settings = append(k.Settings, SettingInfo{Name: s.Name, Type: types[i], Default: v, Help: s.Help})
	}
	return k
}
