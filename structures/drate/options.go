package drate

import (
	"time"

	"github.com/quorate/quorate/structures"
)

// Version numbers the states of the partition of the limit.
type Version = structures.Version

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Seen is [structures.Seen]: v gets the version of the state that was read.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// Setting is a setting of a limit: see [Limit.Configure]. The zero Setting is none.
type Setting struct{ list []structures.Setting }

// Rate has n tokens come in each time per, evenly: n is 1 to [MaxTokens], per whole
// milliseconds, 1 ms to [MaxPer].
func Rate(n int64, per time.Duration) Setting {
	ms := per.Milliseconds()
	if per%time.Millisecond != 0 {
		ms = 0 // refused
	}
	return Setting{[]structures.Setting{integer(rateSetting, n), integer(perSetting, ms)}}
}

// Burst has n tokens at most be there, 1 to [MaxTokens]. Without it, or with 0, there are as
// many at most as the rate gives in its time.
func Burst(n int64) Setting { return Setting{[]structures.Setting{integer(burstSetting, n)}} }

func integer(info *structures.SettingInfo, n int64) structures.Setting {
	return structures.Setting{Name: info.Name, Value: structures.SettingValue{Int: n}}
}
