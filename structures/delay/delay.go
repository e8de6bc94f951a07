// Package delay is the setting of locks that keeps a lock from everybody for a while after a
// hold that was not released, because its session ended or it was revoked: what the lost
// holder has sent arrives while nobody new has the lock (LOCK-5). A lock that has it keeps a
// row of its own while the delay lasts, whose deadline is its end. The functions are for
// Machines and for handles; they keep no state.
package delay

import (
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/structures"
)

// Max is the longest delay.
const Max = time.Minute

// Infos are the settings of a lock: the delay alone.
var Infos = []structures.SettingInfo{
	{Name: "delay", Type: structures.SettingDuration, Help: "how long nobody is granted the lock after a hold that was not released: its session ended, or it was revoked"},
}

var info = &Infos[0]

var rowKey = []byte("d")

// Setting is the setting with a value.
func Setting(d time.Duration) structures.Setting {
	return structures.Setting{Name: info.Name, Value: structures.SettingValue{Int: structures.WaitMilliseconds(d)}}
}

// Check returns [quorate.ErrInvalid] for a delay that is not within 0 to [Max].
func Check(s *structures.Settings) error {
	if ms := s.Value(info).Int; ms < 0 || ms > Max.Milliseconds() {
		return fmt.Errorf("%w: the delay of %d ms is not within 0 to %v", quorate.ErrInvalid, ms, Max)
	}
	return nil
}

// Begin deletes the row of a hold that has ended without a release, and begins the delay. It
// returns false, and has written nothing, if the lock has none.
func Begin(env structures.Env, hold []byte) bool {
	delay := env.Settings().Value(info).Int
	if delay == 0 || mutants.On(mutants.DelaySkipped) {
		return false
	}
	until := env.Now().Add(time.Duration(delay) * time.Millisecond)
	env.Delete(hold)
	env.Put(rowKey, structures.Row{Deadline: until})
	return true
}

// Lasts reports whether a delay keeps the lock from everybody, once a row is removed: that of
// the delay, when it is over. A hold that was revoked and is due, but not cleaned up yet, has
// not been released either: its delay is about to begin, so it lasts while a row is overdue.
// What cleans that row up looks at those who wait again.
func Lasts(env structures.Env, removed []byte) bool {
	if env.Settings().Value(info).Int > 0 && !mutants.On(mutants.DelayOvertaken) {
		overdue := env.Overdue()
		if removed != nil {
			if _, due := env.WasDue(removed); due {
				overdue--
			}
		}
		if overdue > 0 {
			return true
		}
	}
	if string(removed) == string(rowKey) {
		return false
	}
	_, ok := env.Get(rowKey)
	return ok
}
