// Package web is a member's face for machines that watch it: whether it lives,
// whether it serves, its metrics for Prometheus, and Go's profiles.
//
//	/livez              200 while the process is worth keeping
//	/readyz[?verbose]   200 while the member serves, else 503 and what it waits for
//	/metrics            Prometheus
//	/debug/pprof/       profiles, to callers on this machine only
//
// It knows nothing of grids: the member hands in what is to be shown.
package web
