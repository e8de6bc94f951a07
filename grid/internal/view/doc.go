// Package view shows services, presence, holders and members over HTTP, for those who have
// no client: it only reads. A request can wait for the next change.
package view
