// Package member has the commands that run a member and look after it: start, dev, status,
// recover.
package member
