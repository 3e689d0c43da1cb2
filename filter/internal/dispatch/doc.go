// Package dispatch decides which request goes to an upstream next: what the upstream's budget and concurrency let through
// now, what waits, and what is refused.
//
// # Who owns what
//
// A Gate is one upstream in one worker. It owns the worker's queue and knows its requests in flight. What the workers share is
// one record in the store for each upstream (shared.go): the two budgets, the retreat, and an entry for each worker with its
// requests in flight, its waiting ones and the head of its queue. An entry holds absolute numbers and is written by its
// worker alone, as often as anything changes: so a write that was lost is made good by the next one, and the whole entry of a
// worker that has not been heard of for alive is dropped, which gives its slots and reservations back.
//
//	arrived → in flight → finished
//	      └→ waiting ─┬→ in flight → finished
//	                  └→ refused (waited too long, dropped for a higher priority), or gone
//
// With Settings.Revokes what is in flight may have to end for an urgent request: revoke.go has how, which, the bounds, and who could abuse it.
//
// # Who goes first
//
// Priority is strict, over all workers: a worker whose best waiting request ranks below another worker's holds back, as long
// as that one has been heard of within fresh. Inside a priority, turns are fair in tokens between subjects, by start-time
// fair queueing (Goyal, Vin, Cheng: Start-time Fair Queuing, SIGCOMM 1996) with a counter of tokens for each subject (Sheng et
// al.: Fairness in Serving Large Language Models, OSDI 2024): a subject that begins to wait is lifted to the virtual time; the
// subject with the least goes first, and its expected tokens push it on; the virtual time is where the one stood that went
// last. What a request really used is made up for when it ends; one that leaves without having been served costs nothing.
// Requests of a subject stay in their order. The counters are shared; where nothing waits anywhere they are forgotten.
//
// A full queue is shared too: a request whose subject has fewer waiting in this worker than another one of its priority, by two
// at least, takes the place of that one's newest; in another worker, too, if that holds a quarter of the queue or more. What waits beside
// the queue, because its caller must not come back yet, makes place first of all.
//
// # What the upstream says
//
// That it is asked too much, when to come back, and what is left of a limit: all of that it says to one caller, and it holds for that one
// (callers.go; for 429, package retreat). The record has the last eight callers. A request whose own caller is not to come back
// yet waits beside the queue: it has a place and a longest wait, but no turn, so nobody waits behind it, and when the queue is full
// it is the first to make room.
//
// # Bounds
//
// Budget of requests and concurrency are exact: each start is one compare-and-swap of the record. A budget of tokens takes
// what is expected and is corrected by what was used. What waits is bounded by bytes, too (bytes.go). A request never waits longer than its longest wait,
// or than it asks to, and one Tick. A
// lower priority passes a waiting higher one of another worker only while that worker has not been heard of for fresh (it
// is stuck, or dead). A subject waits, beyond the requests already in flight, for no more than what it is ahead of
// the virtual time, plus one request of each worker (a worker doesn't hold back for a difference of less than one request's
// cost, unless the other one has waited 250 ms longer): under strict priority that holds inside a priority only; a lower one
// can wait until its longest wait is over. Each priority has a virtual time and finish times of its own.
//
// # The worst moments
//
// The client leaves: Leave. The worker dies: its slots come back after alive; its waiting clients are not answered (the
// host never does). Two workers write at once: one reads again. The record is damaged, or another version's: it is begun
// anew, and each worker's next write puts its own entry back. The store fails: the request passes, and the caller counts it.
// The clock is monotonic; a step back delays what waits, no more.
package dispatch
