// Package heavy knows whom a limit has to do with most lately: who uses most of it, and whom it refuses most often and why.
//
// A Sketch is SpaceSaving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005) for weights that
// aren't all one: Counters subjects have a counter each, and one who has none takes over that of the subject with least, and what it says. So a
// counter says too much, by no more than it said when it was taken over, which is kept beside it, and never too little.
//
// # Lately
//
// All counters are halved every HalfLife, at the same moments in all workers: what was used in the period of five minutes that runs counts
// whole, of the one before a half, and so on. To halve is exact, and keeps the order.
//
// # Bounds
//
// Let N be all that was counted, halved as it was, and of a subject c what its counter says, o what of that may be another's, and f what is true. Then
// c-o <= f <= c, and o <= N/Counters; who has no counter has f <= N/Counters. That holds however many others there are, of whatever names:
// they can dilute N, and nothing else. A worker's record has the Published greatest counters and the greatest of those left out, the floor,
// which is no more than N/(Published+1). Merge adds up what is certain of each subject (low) and the most that it can be (high): of a worker that does not
// name it that is between nothing and that worker's floor. With E, the sum of what is greater in each worker, the floor or the greatest o: low <= f <= high <= low + E. Subjects are
// in the order of low, so who has used more than another one by E or more stands before that one.
//
// # Owners, memory and cost
//
// A Sketch belongs to one worker; it has no pointers, takes 16 KiB and never more. A Book has two for each limit that was used. To add is a look into a
// hash table of fixed size, and some seven comparisons in a heap; it allocates nothing. A subject is known by a keyed hash that clients can't aim; its name is
// kept as it is to be shown, and asked for only when a counter is taken over.
//
// The worst moments: a flood of names that are made up, each used once: each takes over a counter of little, those of the heavy stay. A worker dies: what
// it knew is gone, and its last record says what was true then. A record is damaged: it counts as none.
package heavy
