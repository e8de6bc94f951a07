package conform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Driver starts the client under test, anew for each case.
type Driver interface {
	// Start starts a client that knows the members at endpoints. When ctx ends the
	// client is to end, too.
	Start(ctx context.Context, endpoints []string) (Client, error)
}

// Client is the client under test. Only one goroutine uses it.
type Client interface {
	// Do has the client perform a task and returns its reply, both lines as in
	// docs/protocol.md, section Conformance, without the line break. An error says
	// that the client has ended, or speaks no lines.
	Do(task string) (reply string, err error)
	// Close has the client end, and waits until it has.
	Close() error
}

// maxReply is how many bytes a line of a client may have.
const maxReply = 64 << 10

// Command is a [Driver] that starts a program for each case, which has the
// endpoints, separated by commas, in the environment variable QUORATE_ENDPOINTS. It
// reads tasks from its standard input and writes replies to its standard output.
type Command struct {
	Program []string  // with its arguments
	Stderr  io.Writer // of the program; nil: nobody reads it
}

// Start implements [Driver].
func (c Command) Start(ctx context.Context, endpoints []string) (Client, error) {
	if len(c.Program) == 0 {
		return nil, errors.New("start the client under test: no program is named")
	}
	cmd := exec.CommandContext(ctx, c.Program[0], c.Program[1:]...)
	cmd.Env = append(os.Environ(), "QUORATE_ENDPOINTS="+strings.Join(endpoints, ","))
	cmd.Stderr = c.Stderr
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the client under test: %w", err)
	}
	return &lines{in: in, out: bufio.NewReaderSize(out, maxReply), wait: cmd.Wait}, nil
}

// Lines returns a [Client] that reads tasks from one stream and writes replies to
// another: in is what it reads, and is closed when it is to end; wait waits until it
// has.
func Lines(in io.WriteCloser, out io.Reader, wait func() error) Client {
	return &lines{in: in, out: bufio.NewReaderSize(out, maxReply), wait: wait}
}

type lines struct {
	in   io.WriteCloser
	out  *bufio.Reader
	wait func() error
}

func (l *lines) Do(task string) (string, error) {
	if _, err := io.WriteString(l.in, task+"\n"); err != nil {
		return "", fmt.Errorf("the client reads no more tasks: %w", err)
	}
	return readLine(l.out)
}

func (l *lines) Close() error {
	_ = l.in.Close() // a client that has ended already has closed it
	_, _ = io.Copy(io.Discard, l.out)
	return l.wait()
}

func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if err != nil {
		return "", fmt.Errorf("the client does not reply with a line: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// Person is a [Driver] for a client that somebody else starts: it prints where the
// members listen and what the client is to do, and reads the replies.
type Person struct {
	In  io.Reader
	Out io.Writer

	once sync.Once
	in   chan string
}

// Start implements [Driver].
func (p *Person) Start(ctx context.Context, endpoints []string) (Client, error) {
	p.once.Do(func() {
		p.in = make(chan string)
		go func() { // for as long as there is something to read
			defer close(p.in)
			for r := bufio.NewReaderSize(p.In, maxReply); ; {
				line, err := readLine(r)
				if err != nil {
					return
				}
				p.in <- line
			}
		}()
	})
	_, err := fmt.Fprintf(p.Out, "# start a client, with the endpoints %s\n", strings.Join(endpoints, ","))
	return &person{p, ctx}, err
}

type person struct {
	*Person
	ctx context.Context
}

func (p *person) Do(task string) (string, error) {
	if _, err := fmt.Fprintln(p.Out, task); err != nil {
		return "", err
	}
	select {
	case <-p.ctx.Done():
		return "", p.ctx.Err()
	case line, ok := <-p.in:
		if !ok {
			return "", errors.New("no more replies come")
		}
		return line, nil
	}
}

func (p *person) Close() error {
	_, err := fmt.Fprintln(p.Out, "# end the client")
	return err
}
