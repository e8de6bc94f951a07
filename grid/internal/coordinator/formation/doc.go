// Package formation takes a blank member to a formed cluster: it finds one to join, or the
// members to form one with, and admits others. In memory it also recognises that a cluster
// has lost the data of its majority, and takes the member back to the beginning. It founds
// a cluster from the backups of a lost one.
package formation
