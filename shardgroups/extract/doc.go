// Package extract reads groups that do not run.
//
// [Inspect] verifies all that a member's engine has on disk before the engine
// opens. An [Extractor] reads what a replica held, of a member that will not run
// again, and writes it as the backup of its group. A [Backup] is the archive of a
// group in a file; a group that waits for one is restored from it by a [Stream].
//
// Package archive has the form of a backup; this package knows what it means.
package extract
