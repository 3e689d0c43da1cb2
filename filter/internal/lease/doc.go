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
// # What may be lost
//
// The service forgets: Redis is started without its data, goes back to a copy that lacks the last second, or loses a part of its cluster. Calls are not answered, and nobody knows whether
// they were counted. So a proxy has counts of its own, which nobody else adds to:
//
//   - With each addition to a subject's count it adds the same to a third key, of the subject and itself. What that says is what it has taken, else the difference is known exactly: what is
//     missing was lost, or not added yet (Own), and is added again; what is more came of calls without an answer, and is leased now, or given back where the limit is passed.
//   - Each call adds to a key of the proxy alone (pulse). The service tells more than the last time, or counts were lost: that is noticed by the next call for whatever, and at least every two
//     seconds one is made. Then a new era begins for the proxy: it goes through its book, looks at all that it has taken (Recount), and adds what is missing. Nobody leases until settling is over, so that the others
//     can have done so as well; who gives itself leases meanwhile (Own) is held to what the fleet had left, as far as that is known. An answer that shows the loss, or that was asked for in the era before, counts for nothing else.
//
// # States and owners
//
//   - An Entry says of a subject and limit, for the window under way: what this proxy has taken, what the service told last, how large the next lease
//     is, and until when nobody else is to ask: somebody does, or nothing is left (then somebody looks every lookAgain what was given back). It is a record that the workers share, in pages pages; each change is a compare-and-swap.
//   - A Client belongs to a worker: what it knows of entries (Front, so that a request costs no look at them), what is wanted, and the one call
//     that may be under way. A call carries what is wanted for up to mostAsks subjects. So a worker has one call in flight, however many subjects ask.
//   - An idler is a lease that a worker looks at every lookIdle. If nothing has changed since the last look, by whichever worker, and no request has some of it, the
//     count is read, and after another look without a change the lease is taken out of its bucket and given back: 12 to 20 s after its last use.
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
// What a proxy has spent stays counted whatever becomes of it, and of the service: see the worst moments.
//
// Memory: pages × mostEntries × 128 bytes = 8 MiB of shared data; mostFronts fronts and as many idlers, 120 bytes each, a worker. Calls: one under way a worker, and one every two seconds a proxy that asks for nothing.
// Redis: two keys for each subject, limit and window, and one for each proxy that leases of it; one for each proxy and month.
// Who makes subjects up gets them pooled, 64 a call; of entries that have to go it is the one that was asked for longest ago, which costs another call.
//
// # The worst moments
//
//   - No answer: the call may have been counted or not, which the next one finds. Nothing is granted; the next lease is half as large, and comes after a pause that grows to two
//     seconds. What becomes of requests meanwhile is the configuration's (onDown): Own is what a proxy gives itself, which is added to the count later.
//   - The answer comes late: it is good, unless a worker asked in between, which finds what it has added, or will.
//   - It comes twice: the call is over with the first one.
//   - A window ends while the service answers: it has counted in the one before, and tells of the next one. Such an answer counts as one of a window that is over.
//   - It is garbage, of another limit, or says more than can be: the call has failed.
//   - What is given back has no answer: it was counted or not, and is given back no more. It comes when the next window has begun: it would be given to that one,
//     so nothing is given back in a window's last seconds, and what an answer says was counted there is owed there.
//   - The asking worker dies: another one may ask when Entry.Quiet is over. What it was just about to have added again after a loss is, when somebody asks for it.
//   - The service forgets its counts: no more is used than the limit, as long as each proxy that has taken something hears of it and has added it again before settling is over. What lies beyond that:
//     what proxies have taken that are gone by then (but not what the others know of: Entry.gone), or can't reach the service that long; what one leases meanwhile that was started after the loss, or less than two seconds before;
//     what was taken by entries that had to go; and, where only the last was lost, as much of that as a call had added that was under way meanwhile and has no answer.
//     Whether all was lost, or only the last, shows in the pulse, whose first call adds more than all others: where all was, what was given back is counted no more, so that less has to be added again. Where
//     that isn't certain all is added that was taken, and what of it was given back and lost isn't to be had until the window ends.
//     What others had given back of a lost count without a proxy's knowing isn't to be had for that one until the window ends.
//   - A cluster of Redis loses one part: a proxy notices that if the part has its pulse, else with the next call for a subject of it. The keys of a subject are in one part.
//   - A count comes back that was lost before (an old copy of Redis's data): what it says of a proxy is taken, which can be too little of what was given back.
//   - The proxy is restarted: its leases are lost, the count stays.
//   - Another service is asked from a new configuration on, or one for another domain: it counts from 0, and each proxy that asks it adds what it has taken, as after a loss, but for a time in which nobody leases.
//   - The service's clock is set: the window of an answer that fits no other is the one that counts; but if it ends more than half its length before the one that was told of, nothing is leased until that is over.
package lease
