// Package web serves a member's probes (is it alive, does it serve), its metrics for
// Prometheus, and Go's profiles.
//
//	/livez              200 while the process is worth keeping
//	/readyz[?verbose]   200 while the member serves, else 503 and what it waits for
//	/metrics            Prometheus
//	/debug/pprof/       profiles, to callers on this machine only
//
// It knows nothing of grids: the member passes in what it shows.
package web
