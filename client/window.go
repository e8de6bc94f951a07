package client

import "time"

// Bounds of a connection's window.
const (
	firstWindow = 512
	// calmWindow is the size below which long round trips alone do not shrink a window,
	// because a distant member need not be overloaded. Refusals shrink it further.
	calmWindow  = 64
	leastWindow = 4
	windowEpoch = 50 * time.Millisecond
	windowCount = 8 // the least number of replies in an epoch
	// targetTrip is how long a round trip may take. More requests in flight would wait
	// in queues of the member, where refusing them costs time, and they cannot be taken
	// back.
	targetTrip = 100 * time.Millisecond
	shortEvery = 10 * time.Second
	// standstill is the silence after which a member is taken to have stalled. Such a
	// time says nothing about how fast it answers.
	standstill = 250 * time.Millisecond
)

// window is how many requests a connection may have in flight: as many as the member
// answers within targetTrip, or within twice the shortest round trip if that is longer.
// It grows while calls wait in the backlog and round trips are short. It shrinks when
// round trips are long, or when the member refuses requests because it is overloaded. A
// call that waits in the client costs the grid nothing, so the client queues and
// refuses calls first. The connection's mu guards it; it reads no clock.
type window struct {
	limit int // of the member
	size  int // Invariant: at most limit

	since   time.Duration // when the epoch began
	last    time.Duration // when the last reply came
	all     int           // replies in the epoch
	replies int           // of them, those to requests of the epoch
	took    time.Duration // their round trips
	refused int           // of them, refused by an overloaded member

	short      [2]time.Duration // shortest round trip since shortSince, and in the period before
	shortSince time.Duration

	// perReply estimates the time from one reply to the next while calls wait in the
	// backlog. It is measured while calls wait, and halved in each epoch since. 0: not
	// known.
	perReply time.Duration
}

// newWindow returns the window of a connection whose handshake took trip.
func newWindow(limit int, now, trip time.Duration) window {
	return window{limit: limit, size: min(firstWindow, limit), since: now, last: now, short: [2]time.Duration{trip, 0}, shortSince: now}
}

// add records a reply to a request that was sent at the given time.
func (w *window) add(now, sent time.Duration, refused bool) {
	trip := max(now-sent, 1)
	if !refused && (w.short[0] == 0 || trip < w.short[0]) {
		w.short[0] = trip
	}
	if now-w.last > standstill {
		w.begin(now)
	}
	w.last = now
	w.all++
	if sent < w.since {
		return // it belongs to an epoch with another size of the window
	}
	w.replies++
	w.took += trip
	if refused {
		w.refused++
	}
}

// miss records a request that was not answered in time.
func (w *window) miss(now, sent time.Duration) {
	if sent >= w.since {
		w.replies++
		w.refused++
		w.took += now - sent
	}
}

func (w *window) begin(now time.Duration) {
	w.since, w.all, w.replies, w.took, w.refused = now, 0, 0, 0, 0
}

// turn ends the epoch if that is due. inFlight is how many requests are not answered
// yet; wait says whether calls wait in the backlog.
func (w *window) turn(now time.Duration, inFlight int, wait bool) {
	passed := now - w.since
	if passed < windowEpoch || w.replies < windowCount || w.all == 0 {
		return
	}
	perReply := passed / time.Duration(w.all)
	switch {
	case !wait:
		w.perReply = min(w.perReply/2, perReply)
	case w.perReply == 0:
		w.perReply = perReply
	default:
		w.perReply = (w.perReply + perReply) / 2
	}
	switch most := min(w.size, inFlight+w.replies); {
	case w.refused*16 > w.replies:
		w.size = max(min(most*7/10, w.size), leastWindow)
	case w.took/time.Duration(w.replies) > w.target():
		if most > calmWindow {
			w.size = max(most*7/10, calmWindow)
		}
	case wait:
		w.size += w.size/4 + leastWindow
	}
	w.size = max(min(w.size, w.limit), 1)
	if now-w.shortSince > shortEvery {
		w.short, w.shortSince = [2]time.Duration{0, w.short[0]}, now
	}
	w.begin(now)
}

// target is how long a round trip may take.
func (w *window) target() time.Duration { return max(targetTrip, 2*w.shortest()) }

// shortest is the shortest recent round trip; 0: none is known.
func (w *window) shortest() time.Duration {
	if s := w.short[1]; s != 0 && (w.short[0] == 0 || s < w.short[0]) {
		return s
	}
	return w.short[0]
}

// wait estimates how long a call waits in the backlog behind a number of others. A
// member that has stopped answering is assumed to resume at its former rate: so callers
// that wait for one answer before they call again are not refused, and those that do
// not wait cannot fill the backlog.
func (w *window) wait(behind int) time.Duration { return time.Duration(behind) * w.perReply }
