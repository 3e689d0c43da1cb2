// Package lease takes parts of a fleet's limit from the service that counts for all proxies, envoyproxy/ratelimit, so that requests are decided in the
// proxy and none of them waits for a call.
//
// # What is what
//
// The service counts hits for a key in windows of its clock (minute, hour, day, month), and says of each addition what the count is then, and when
// the window ends; it is told no limit but the greatest there is, so the proxies decide. One hit is one unit of the limit. Additions are one after the other, so each has units of
// its own, from the count before it to the one after: a proxy adds a part, and what of that lies below the limit is its lease. It spends it by itself, with reservations and settlements as in any limit (packages bucket and limit): a subject's bucket holds what of the leases is left.
// Before it is used up the next part is asked for, in the background; a request waits only where nothing is left, and not for long.
//
// # What is given back
//
// The service subtracts nothing. So there is a second key, which counts what the proxies have given back: leases that lie idle, and what of an
// addition lies beyond the limit. The limit of the first count is L + what the second one says. A proxy goes by what that said before it asked: who reads it
// later could take for its own what another one, who was second, has given back.
//
// # States and owners
//
//   - An Entry says of a subject and limit, for the window under way: what this proxy has taken, what the service told last, how large the next lease
//     is, and until when nobody else is to ask: somebody does, or nothing is left (then somebody looks every lookAgain what was given back). It is a record that the workers share, in pages pages; each change is a compare-and-swap.
//   - A Client belongs to a worker: what it knows of entries (Front, so that a request costs no look at them), what is wanted, and the one call
//     that may be under way. A call carries what is wanted for up to mostAsks subjects. So a worker has one call in flight, however many subjects ask.
//   - An idler is a lease that a worker looks at every lookIdle. If nothing has changed since the last look, by whichever worker, and no request has some of it, the
//     count is read (it may be lost), and after another look without a change the lease is taken out of its bucket and given back: 12 to 20 s after its last use.
//   - The window's end is the service's: it tells whole seconds to go, from which follows a moment before which the window doesn't end. A lease ends
//     then, and is never spent in the next window. Each answer narrows it down. Neither the proxy's wall clock nor another one's is asked, but where
//     the service can't be (Own).
//
// # How large a lease is
//
// It doubles while the last one was used up within two seconds, and halves for each eight that it lasted longer. It is no more than a quarter
// of what the fleet has left (a 32nd of the limit while that is not known), than what its pace lets expect until the window ends, and no less than what
// those need who wait. The next one is asked for when half of it is left. Nobody asks for who is idle.
//
// # Bounds
//
// Let L be the limit. Leases less what was given back are no more than L in a window, and a bucket passes no more than was leased and one settlement for each request
// in flight when the last was admitted. So in each window
//
//	used by the fleet ≤ L + what the requests that were in flight at the last admission used beyond their reservations
//
// and what is left unspent though it was refused to somebody is no more than the leases that were used in the last 20 s, and what was lost: leases of
// proxies and workers that have died, calls without an answer, what lies idle in the last seconds of a window.
// What a proxy has spent stays counted whatever becomes of it.
//
// Memory: pages × mostEntries × 96 bytes = 6 MiB of shared data; mostFronts fronts and as many idlers, 120 bytes each, a worker. Calls: one under way a worker.
// Redis: two keys for each subject, limit and window.
// Who makes subjects up gets them pooled, 64 a call; of entries that have to go it is the one that was asked for longest ago, which costs another call.
//
// # The worst moments
//
//   - No answer: the call may have been counted or not. Nothing is granted; the next lease is half as large, and comes after a pause that grows to two
//     seconds. What becomes of requests meanwhile is the configuration's (onDown): Own is what a proxy gives itself, which is added to the count later.
//   - The answer comes late: it is good while its window is; a worker that asked in between has its own.
//   - It comes twice: the call is over with the first one.
//   - It is garbage, of another limit, or says more than can be: the call has failed.
//   - What is given back has no answer: it was counted or not, and is given back no more. It comes when the next window has begun: it would be given to that one,
//     so nothing is given back in a window's last seconds, and what an answer says was counted there is owed there.
//   - The asking worker dies: another one may ask when Entry.Quiet is over.
//   - The service forgets its counts (Redis has lost its data): the count is below what was told before. The proxy adds what is missing once more, at most what it has
//     taken in this window, and goes by nothing that was given back before. What others had taken of the lost count isn't to be had for it either, until as much has been
//     added since; so what others had given back without its knowing may stay unspent.
//     A proxy whose own last count was lower than what the others have added since can't see it; then the fleet passes at most what that one had taken, again.
//   - The proxy is restarted: its leases are lost, the count stays.
//   - The service's clock is set: the window of an answer that fits no other is the one that counts.
package lease
