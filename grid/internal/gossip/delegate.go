package gossip

import (
	"bytes"
	"log/slog"

	"github.com/hashicorp/memberlist"
)

// delegate gives memberlist our metadata, and ignores messages.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte           { return d.g.meta() }
func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// events receives memberlist's notifications. They run under memberlist's locks, so
// they must neither call memberlist nor wait for a goroutine that does.
type events struct{ g *Gossip }

func (e events) NotifyJoin(n *memberlist.Node)   { e.g.learn(n, true) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.g.learn(n, true) }
func (e events) NotifyLeave(n *memberlist.Node)  { e.g.learn(n, false) }

// logWriter is the bridge from memberlist's log to slog. What memberlist calls an error
// is a peer that does not answer, which is worth a line at level debug.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	w.log.Debug("memberlist", "message", string(bytes.TrimSpace(b)))
	return len(b), nil
}
