// Package boltstore keeps leases, their history, and who may see and change them over restarts, in one bbolt file.
//
// bbolt maps its file into memory and believes every length that it finds there: a damaged or truncated file can
// end the process, and no check that runs inside bbolt can prevent that. So bbolt only ever opens files that this
// process has just made:
//
//	Open:   lock the file -> read its rows with ordinary reads, every offset checked -> write them to a new file
//	        -> rename it over the old one -> go on with that
//	Commit: is the file still the one that we left? -> one bbolt transaction -> wait for the disk, once -> done
//
// A file that was deleted, replaced or written over while portreeve runs is made anew before the next answer, so that what
// was acknowledged is on disk under its name. The rows for that are in memory, encoded, but for those of leases and events:
// the manager has these in memory anyway, and is asked for them then ([Store.Rely]).
//
// A row is a checksum over bucket, key and value followed by one line of JSON that carries its version, so that a
// damaged row is noticed, told and left out, and never becomes another mapping than the one that was granted. The
// types of the rows are not the domain's: either may change without the other.
//
// A transaction leaves its number and a digest of all rows. bbolt alone waits for the disk twice, so that what it has begun
// to write never counts before it is there as a whole. Waiting is most of what a commit costs, and a client waits with it.
// Here it is done once, and Open finds out by number and digest whether the latest transaction is whole. If it is not, the
// power has failed before it was acknowledged, and the one before counts.
package boltstore
