// Package health is what the workers together know of an upstream's health, by model, and the gates that are asked by it: breaker,
// latency gate and throttle. It has the records that hold their states, and the calls that lead a request through them.
//
// # A request
//
//	Breaker → (pressure) → Latency → Throttle → (limits, queue) → sent → Observe → Finish
//	                                                          └→ refused: Cancel
//
// Each gate is asked by itself, in that order, and answers with a gate.Verdict. A gate in shadow mode says what it would have done
// and lets pass, so the next ones are asked as well. A request that the breaker has let pass as a probe, and that then is not
// sent, is cancelled, which gives the probe back. Observe takes a time that is known before the end (the first token); Finish
// the end, once. A gate that is off is nil, in the settings; if all are, New gives nil, and no method of nil does anything.
//
// What isn't the upstream's doing is not sampled: what failed has no duration; requests that were refused never come to Finish; a client that left, or was told of its
// own mistake (4xx), is neither success nor failure (Neither). A probe that ends so is given back.
//
// # Who owns what
//
// Gates are one upstream in one worker. The workers share records in the store, at most 67 of an upstream, however many models
// there are, because the host's shared data can't be deleted (Keys):
//
//   - names: which model has which of 64 places. A model gets one when the first answer to it is recorded. Clients make up names, so
//     a place is given by how sure it is that there is such a model: to those that the configuration names before those that the
//     upstream has answered for, and to these before those that it only ever failed for. Within a rank it is given up after ten idle
//     minutes. A model for which there is none isn't measured, and not refused: the failures of others say nothing of it.
//   - 64 places: breaker and latency of one model, 1373 bytes. A place's record says whose it is.
//   - all: the latency of all models together, if it is measured so.
//   - throttle: that of the upstream, 3 KB.
//
// States are changed by compare-and-swap (package record); where the workers are too many, the sample is lost. A reload of the plugin finds the same records.
//
// # What it costs
//
// At admission: one get, of the model's record, for breaker and latency together; a compare-and-swap only while the breaker is
// not closed. At the end: one get and one compare-and-swap for both. Where latency is measured globally its record is
// another one, so it takes as much again. The throttle costs a get and a compare-and-swap in 250 ms: what a worker has counted is
// merged at most so often, and judged by what it then read. The names are read when a model isn't known, at most every 250 ms. In
// between nothing is allocated.
//
// # The worst moments
//
// The stream dies: Finish with Neither, or Cancel. The worker dies: its probes come back after breaker.Lease, and what it has
// counted for the throttle in the last 250 ms is lost. The worker is loaded anew: all is in the records. Two workers write at
// once: one reads again. The clock leaps, or is set back: see the packages of the gates. A record is garbage or another
// version's: it is begun anew, and counted (Damaged). The store fails: the request passes, and the verdict has the error. The
// record of a breaker that is not closed can't be written for the crowd: the request is refused, because it may be one probe
// too many.
package health
