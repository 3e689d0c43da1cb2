// Package account says what one request has used, and how that is known: while its answer passes, and when it has ended. It also says what a
// request is expected to use before that, by what earlier ones have taught it.
//
// It gets what is known of a request and its answer (Exchange), and gives plain values (Estimate, Progress, Settlement). It knows nothing of
// limits, gates, metrics or the host: package admit does what it says.
//
// # What is charged
//
//	how it ended                                                 requests  tokens                            source
//	answered                                                     1         as reported                       reported
//	answered, without a report: a stream of known output         1         prompt + what passed              counted
//	answered, without a report: all else                         1         prompt + the estimate             estimated
//	4xx; an error of the client's in place of a stream's output  1         0                                 counted
//	429 or 5xx of the upstream's; reset before its answer;
//	such an error in place of a stream's output                  1         0                                 none
//	a timeout of the route's, of a try's, of an idle stream      1         prompt + the work given up        estimated
//	a stream that was left or broken off after some output       1         prompt + what passed              counted
//	a stream that was left before any output                     1         prompt + the work given up        estimated
//	all else that was left or broken off                         1         prompt + the estimate             estimated
//	no upstream to be had; another filter's 429 or 5xx           0         0                                 none
//
// A request that went to the upstream counts as one whatever came of it, as the providers count; what never went there (it was refused, or left
// before) never comes here. The prompt is as reported if it was, else estimated. Figures of a report are cut to what is plausible.
//
// Errors cost no tokens, since nothing was generated. Work given up is charged, since hanging up must not be a way around a limit: of what
// doesn't stream it is the estimate, of a stream 50 tokens for each second that the upstream had, and no more than the estimate.
//
// # What is learned
//
// A report that is plausible teaches how many tokens a prompt's bytes are; of an answer that came to its end also how long outputs are, and
// how many tokens their text is (package estimate). It is learned by model, and by model and subject, as keyed hashes.
//
// # States
//
//	begun → identified → decided → sent → answered → settled
//
// The caller fills in what becomes known, and tells the moments; Identify may come several times, since a body may name another model than was
// thought. Settle is called once, and closes the reader. An Exchange is used again by the next request, without allocating: Reset.
//
// # Bounds and worst moments
//
// What is learned has a fixed size, and belongs to a worker for its life; nothing else is kept here. An answer that can't be read, or none at
// all, is charged the estimate. Figures that can't be true are cut, teach nothing, and are told (Settlement.Implausible). Nothing a client or
// an upstream sends makes a figure negative, or larger than what is plausible for the time that it took and the bytes that came.
//
// Time comes in with every event (package clock).
package account
