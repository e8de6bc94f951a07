package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/network"
)

const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	writeTimeout   = 2 * time.Minute // long enough for a profile of a minute
	maxHeaderBytes = 16 << 10
	maxConnections = 64
	closeTimeout   = 2 * time.Second
)

// Health is what the probes answer.
type Health struct {
	Dead   string // why the process should be restarted; empty: it is alive
	Ready  bool
	Checks []Check
}

// Check is one line of /readyz?verbose.
type Check struct {
	Name   string
	OK     bool
	Detail string
}

// Config is what a Server needs of its member. Its functions must be safe for
// concurrent use.
type Config struct {
	Listener net.Listener
	Health   func() Health
	Metrics  func() Metrics
	View     http.Handler // of the paths below /v1/; nil: there are none
	Logger   *slog.Logger
}

// Server serves HTTP until it is closed.
type Server struct {
	http *http.Server
	done sync.WaitGroup
}

// Start begins to serve.
func Start(cfg Config) *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { live(w, cfg.Health()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ready(w, cfg.Health(), r.URL.Query().Has("verbose"))
	})
	mux.Handle("GET /metrics", metricsHandler(cfg.Metrics))
	for path, f := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.Handle("GET "+path, localOnly(f))
	}
	if cfg.View != nil {
		mux.Handle("GET /v1/", cfg.View)
	}
	mux.HandleFunc("GET /{$}", index)
	s := &Server{http: &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}}
	s.done.Go(func() {
		if err := s.http.Serve(network.Limit(cfg.Listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("the HTTP listener ends", "err", err)
		}
	})
	return s
}

// Close stops serving. Requests in flight have a short time to end.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.done.Wait()
	return err
}

func index(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "Quorate\n\n/livez\n/readyz?verbose\n/metrics\n/v1/services, /v1/services/NAME, /v1/presence/NAME, /v1/elections/NAME, /v1/locks/NAME, /v1/members\n/debug/pprof/ (from this machine only)\n")
}

func live(w http.ResponseWriter, h Health) {
	if h.Dead != "" {
		plain(w, http.StatusServiceUnavailable, "dead: "+h.Dead+"\n")
		return
	}
	plain(w, http.StatusOK, "alive\n")
}

func ready(w http.ResponseWriter, h Health, verbose bool) {
	var b strings.Builder
	code := http.StatusOK
	if !h.Ready {
		code = http.StatusServiceUnavailable
	}
	if !verbose {
		var wrong []string
		for _, c := range h.Checks {
			if !c.OK {
				wrong = append(wrong, c.Name+": "+c.Detail)
			}
		}
		if h.Ready {
			plain(w, code, "ready\n")
		} else {
			plain(w, code, "not ready: "+strings.Join(wrong, "; ")+"\n")
		}
		return
	}
	for _, c := range h.Checks {
		sign, detail := "[+]", c.Detail
		if !c.OK {
			sign = "[-]"
		}
		if detail != "" {
			detail = ": " + detail
		}
		fmt.Fprintf(&b, "%s %s%s\n", sign, c.Name, detail)
	}
	if h.Ready {
		b.WriteString("ready\n")
	} else {
		b.WriteString("not ready\n")
	}
	plain(w, code, b.String())
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text) // a caller that has gone needs no answer
}

// localOnly refuses callers on other machines, whatever the listener's address, because
// a profile shows what is in memory. It also refuses a web page in a browser on this
// machine whose host name resolves to it (DNS rebinding).
func localOnly(f http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.RemoteAddr) || !isLoopback(r.Host) {
			plain(w, http.StatusForbidden, "profiles are for callers on this machine, at a loopback address\n")
			return
		}
		f(w, r)
	})
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
