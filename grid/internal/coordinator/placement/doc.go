// Package placement decides which member has which replica, and brings that about one
// safe step at a time: it creates the first groups, gives replicas back that were lost,
// replaces groups that have lost the data of their majority, and restores groups from
// backups. It works on the member that leads the system group. The plan follows from the
// cluster state alone, so another member goes on wherever one has died.
package placement
