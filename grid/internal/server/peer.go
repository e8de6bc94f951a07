package server

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
)

// maxMemberQuestions is how many questions of one connection are answered at a time. Who asks
// more waits.
const maxMemberQuestions = 64

// memberConn is the connection of another member.
type memberConn struct {
	net.Conn
	answer    func(context.Context, protocol.PeerRequest) protocol.Reply
	answering sync.WaitGroup
	free      chan struct{} // holds one for each question that is being answered

	writing sync.Mutex // held while a frame is written

	mu    sync.Mutex                    // guards what follows
	asked map[uint64]context.CancelFunc // the questions that are being answered
}

// serve reads questions until the connection ends, and has each answered.
func (p *memberConn) serve(ctx context.Context) error {
	frames := protocol.NewFrameReader(p.Conn, protocol.MaxHandshakeFrame)
	for {
		if err := p.SetReadDeadline(time.Now().Add(peerTimeout)); err != nil {
			return err
		}
		b, err := frames.Next()
		if err != nil {
			return err
		}
		var q protocol.PeerRequest
		if err := protocol.Decode(b, &q); err != nil {
			return fmt.Errorf("malformed question: %w", err)
		}
		if q.Type != protocol.TypePeer {
			return fmt.Errorf("message of type %d, which is no question", q.Type)
		}
		if q.What == peers.Withdraw {
			p.end(q.ID)
			continue
		}
		select {
		case p.free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		asked, cancel := context.WithTimeout(ctx, peerTimeout)
		p.mu.Lock()
		before := p.asked[q.ID]
		p.asked[q.ID] = cancel
		p.mu.Unlock()
		if before != nil {
			cancel()
			return fmt.Errorf("question %d is asked twice", q.ID)
		}
		p.answering.Go(func() {
			defer func() { <-p.free }()
			r := p.answer(asked, q)
			withdrawn := asked.Err() != nil
			p.end(q.ID)
			if withdrawn {
				return
			}
			r.ID = q.ID
			if p.write(protocol.EndFrame(r.Append(protocol.BeginFrame(nil)), 0)) != nil {
				_ = p.Close() // serve ends
			}
		})
	}
}

// end ends the context of a question.
func (p *memberConn) end(id uint64) {
	p.mu.Lock()
	cancel := p.asked[id]
	delete(p.asked, id)
	p.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (p *memberConn) write(b []byte) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.SetWriteDeadline(time.Now().Add(peerWriteLimit)); err != nil {
		return err
	}
	_, err := p.Write(b)
	return err
}
