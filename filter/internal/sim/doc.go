// Package sim is test support, which the filter is not linked with (`make check` sees to it). It runs the gates of package dispatch
// (World), and whole engines with an adversary among their clients (Proxy), in virtual time, and holds them to what they promise.
//
// A World has workers, each with a gate, on one shared store; sources of requests; and an upstream with a time of service and,
// if wanted, a rate beyond which it answers 429. All that happens is an event on a queue ordered by virtual time, and all chance
// comes from one seed: a run can be repeated exactly. Faults are a part of it: clients that leave, workers that crash or
// stand still, clocks that jump, races for the record that are lost, a store that fails.
//
// # What is checked, and the bounds
//
// While it runs (check.go); "heard" means that a worker has written the record within alive (5 s):
//
//   - A request starts only while fewer are in flight than there are slots, in all workers that are heard. A worker that
//     stands still for longer than alive counts as dead, so what it holds comes on top of the slots when it goes on.
//   - Starts never pass the budget: burst plus rate times the time between, over every interval. Time is that of the clock
//     that has gone furthest. Where tokens are budgeted: use plus reservations.
//   - No more wait than the queue holds, in the workers that are heard. With dropLowest, those which were taken in the place of
//     another worker's come on top until that worker's next tick.
//   - A request that starts has no higher one waiting in its own worker, nor in one that was heard within fresh (250 ms): the
//     inversion is not a tick but none. While a worker stands still for longer than fresh, its requests can be passed.
//   - Requests of one subject and priority start in their order, within a worker.
//   - Two subjects that both wait all the time at one priority get turns of the same cost, but for one request of each (the
//     bound of start-time fair queueing) and one for each worker (which doesn't hold back for that much).
//   - Nothing waits longer than its priority's longest wait and one tick, and what its worker stood still.
//   - Each request ends once: finished, refused, left, or lost with its worker. A refusal's advice is between 1 s and 60 s.
//
// A slot that is freed in one worker while another one's request is due stays empty until that one's next tick; the scenarios
// print what that costs.
//
// At the end nothing is in flight or waits by the record, and all slots and the whole burst can be used again.
package sim
