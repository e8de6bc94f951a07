package gossip

import (
	"bytes"
	"log/slog"

	"github.com/hashicorp/memberlist"
)

// delegate gives memberlist our meta data and takes nothing.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte           { return d.g.meta() }
func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// events takes what memberlist says. It runs under memberlist's locks: it may
// not call memberlist, nor wait for anyone who does.
type events struct{ g *Gossip }

func (e events) NotifyJoin(n *memberlist.Node)   { e.g.learn(n, true) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.g.learn(n, true) }
func (e events) NotifyLeave(n *memberlist.Node)  { e.g.learn(n, false) }

// logWriter is the bridge from memberlist's log to slog. What memberlist calls
// an error is a peer that does not answer: worth a look when debugging.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	w.log.Debug("memberlist", "message", string(bytes.TrimSpace(b)))
	return len(b), nil
}
