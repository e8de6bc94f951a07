package engine

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/logger"

	"github.com/quorate/quorate/shardgroups/walfs"
)

var loggerOnce sync.Once

// BridgeLogs sends dragonboat's logs to l. They are the process's, not an
// engine's: the first call in a process decides.
func BridgeLogs(l *slog.Logger) {
	loggerOnce.Do(func() {
		logger.SetLoggerFactory(func(pkg string) logger.ILogger {
			return &raftLogger{log: l.With("component", "dragonboat/"+pkg)}
		})
		// At a lower level an overloaded group prints every dropped proposal, and
		// every step of a start is a line.
		for _, pkg := range []string{
			"raft", "rsm", "transport", "dragonboat", "logdb", "config", "registry", "settings", "server", "raftpb", "util",
			"grpc", "pebblekv", "internal", "utils",
		} {
			logger.GetLogger(pkg).SetLevel(logger.ERROR)
		}
	})
}

// remindAfter is how long a format is not written again while its cause lasts.
const remindAfter = time.Minute

// raftLogger writes errors, and panics if dragonboat asks for it, which relies on
// Panicf not to return.
type raftLogger struct {
	log    *slog.Logger
	mu     sync.Mutex // guards what follows
	level  logger.LogLevel
	logged map[string]time.Time // when a format was last written; the engine has some hundred
}

var _ logger.ILogger = (*raftLogger)(nil)

func (r *raftLogger) SetLevel(l logger.LogLevel) {
	r.mu.Lock()
	r.level = l
	r.mu.Unlock()
}

func (r *raftLogger) enabled(l logger.LogLevel) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.level >= l
}

func (r *raftLogger) Debugf(format string, args ...any) {
	if r.enabled(logger.DEBUG) {
		r.log.Debug("raft", "message", fmt.Sprintf(format, args...))
	}
}

func (r *raftLogger) Infof(format string, args ...any) {
	if r.enabled(logger.INFO) {
		r.log.Debug("raft", "message", fmt.Sprintf(format, args...))
	}
}

func (r *raftLogger) Warningf(format string, args ...any) {
	if r.enabled(logger.WARNING) {
		r.log.Info("raft", "message", fmt.Sprintf(format, args...))
	}
}

// Errorf logs a warning: what dragonboat calls an error is mostly a connection
// that a peer closed. dragonboat repeats an error about once a second while its
// cause lasts: the first of a format is written, and one a minute after that. Of a
// member that is not reached nothing is written here: the transport logs it, and so it
// does if a connection that was lost, which fails a batch, cannot be opened again.
func (r *raftLogger) Errorf(format string, args ...any) {
	if !r.enabled(logger.ERROR) {
		return
	}
	level := slog.LevelWarn
	if strings.Contains(format, "failed to get a connection to") || strings.HasPrefix(format, "send batch failed") || !r.due(format) {
		level = slog.LevelDebug
	}
	r.log.Log(context.Background(), level, "raft", "message", fmt.Sprintf(format, args...))
}

// due reports whether a line of a format is to be written, and notes that it is.
func (r *raftLogger) due(format string) bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.logged[format]; ok && now.Sub(last) < remindAfter {
		return false
	}
	if r.logged == nil {
		r.logged = map[string]time.Time{}
	}
	r.logged[format] = now
	return true
}

func (r *raftLogger) Panicf(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	r.log.Error("the raft engine stops the process", "reason", msg,
		"remedy", "start the member again: what it has on disk is verified then, and if it is damaged the member rejoins without it")
	if inStepWorker() && !walfs.Injected() {
		walfs.EndProcess(msg)
	}
	panic(msg)
}

// inStepWorker reports whether the caller is a worker of the engine whose panics
// dragonboat swallows, see package walfs.
func inStepWorker() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".(*engine).stepWorkerMain") {
			return true
		}
		if !more {
			return false
		}
	}
}
