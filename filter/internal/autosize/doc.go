// Package autosize learns how many requests an upstream can have in flight: its slots.
//
// # How
//
// By Little's law. What a request waited for its first token longer than such requests do while there is room, times the first tokens a
// second that the upstream gives, is how many were waiting in the upstream before it; so of those in flight when it started, the rest was being
// served. That is the idea of TCP Vegas (Brakmo, Peterson: TCP Vegas, 1995), which keeps a small queue in the network, with the queue measured
// rather than inferred from a ratio: a ratio of times depends on how long an answer is beside its first token. In windows of some samples:
//
//   - more wait there than one or so (mostQueue): there are as many slots as were served, and the little that keeps the upstream busy
//     (aimQueue). One window is enough, however far off it was, but for the half at most.
//   - hardly any waits, and all slots are in use: one more, then two, four and so on. Where the last cut was made it stays for some
//     windows first, and for longer each time that one more was too many.
//   - slots that aren't used are neither too few nor too many: nothing changes.
//
// What is usual is the mean time to the first token of requests that started with a good part of the slots free (calmShare), for prompts of
// about their size: so long prompts are compared with long ones. A mean, not a minimum: where half of the prompts are cached, a minimum would
// take the other half for late. If all slots are in use for minutes, or cuts don't help, there are fewer for a moment, so that what
// is usual is measured anew (as with Envoy's minimum round trip, but with most of the slots in use).
//
// Of the time between tokens there is no such law: each request in the batch makes it longer, and it may be worth it. Above three times the best
// it takes no more slots.
//
// # Whole answers
//
// Answers that come whole tell less: they take longer beside others without waiting. So where streams come, these alone are asked. Where only
// whole answers come, and nobody tells what the engines say, their lengths tell both apart (apart.go): the straight line of times by tokens (line.go) begins
// later by what they wait, and is steeper by what each token takes longer beside others. Little's law then holds as for streams. An answer takes long, so that of a
// change nothing is known for as long; but then one look is enough: when answers get longer, what was measured begins anew (Page, Continuous
// Inspection Schemes, 1954), and after eight more the slots are as many as were served.
//
// Where all answers are of one length it climbs (level.go): what is done a second is, by Little's law, the number in
// flight by the time of each; so the times of two numbers of slots tell what each slot between them brings, of what each of the others does.
// In front of a server with slots that is all up to these and nothing beyond, in front of one that batches less and less (Gunther, A General
// Theory of Computational Scalability, 2008). As long as it is a quarter there are more, by steps of a quarter or a half; else it
// goes back to as many as were served. There it tries a few more after a while, and once in a while fewer, for longer and longer times.
// Times are compared only where they scatter by less than they differ.
//
// # What the engines say
//
// Where pressure is measured, the number of requests that wait in the engines is known, some seconds late. Streams tell that sooner and as well,
// so it is asked for whole answers only: whether one that takes longer waits, or is served beside more others. It decides between all that an
// answer takes longer than usual, and what is beyond three times the usual; and slots grow only by what was said since they last did. With
// a KV cache four fifths full they grow slowly, as at a ceiling: what is in flight goes on to fill it. And there are never more, streams or not, than fit
// into the caches by what requests took there lately (fit). Preemptions were tried: they come when it is too late, and who is preempted waits again. What is stale is not told to this package.
//
// Four ways were tried on eleven traces, in table_test.go beside this one: Netflix's gradient and its Vegas, Envoy's adaptive concurrency, and
// AIMD. docs/design.md has what came of it.
//
// # Whom to believe
//
// One client can make its own requests slow. What was late counts only as far as package quorum believes it: while others meet no wait, it
// does not. A client that leaves without a token tells that it waited for so long. Answers that failed tell nothing.
//
// # Bounds
//
// Never below Min, which is at least 1, nor above Limit. A cut takes half at most, a growth doubles at most. No request is refused by
// this package: what there is no slot for waits in the queue. A State is a value of Size bytes.
//
// # Who owns what, and the worst moments
//
// A State belongs to its caller, who shares it between workers: each reads it, takes in its samples, and writes it if nobody else has
// meanwhile. Time comes in with the samples. The clock steps back: a window begins anew. The worker dies: its samples of some milliseconds are
// lost. A reload finds the same record. The upstream hangs: there are no samples, and nothing changes. It answers at once with rubbish: that is a
// short time, of which one has an eighth of the weight. The exporter lies: see above; streams hardly feel it (TestExporterThatLies). The record is garbage: Decode refuses it, and learning begins anew.
package autosize
