// Package verify has the commands that look for broken promises: verify, with its runs, gaps
// and losses, and conform.
package verify
