// Package demo has the command that shows the grid at work: processes of members and workers
// that count the words of real input while a member is killed.
package demo
