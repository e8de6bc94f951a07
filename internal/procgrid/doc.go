// Package procgrid runs grids of member processes on this machine: it starts them,
// waits until they serve, and ends them, each by its own id. They end with whoever
// started them, since their stdin closes.
package procgrid
