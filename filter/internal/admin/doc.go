// Package admin is the surface by which an operator asks the running filter how it stands, and changes what it does: the frame of it, that is
// routes, tokens, and JSON. It is pure: a request comes in as its headers and its body, an answer comes out. What the answers are made of, and what
// a change does, is its caller's, by a Handler for each Route.
//
// # A request
//
//	Begin (headers) → answered, or the body is wanted → Finish (body) → answered
//
// All that can be known by the headers is answered there: what there is no route for (404, 405), who may not (401, 403, 429), what won't be read
// (413, 415). So nobody without a token has a byte of a body kept. Whatever stands under the surface's path is the surface's, and goes nowhere else:
// a path that a server might read in two ways (a segment that is empty, "." or "..", or an escape that is none) has no route here.
//
// # Who may
//
// A change takes a token: its SHA-256 stands in the configuration, and is compared with all of those in constant time. After MostWrong wrong tokens in
// a minute the worker says 429 to wrong ones until the minute is over; a right one passes all the same, so nobody is locked out by others. Where everybody
// may come, no token is looked at, so that nobody tries there which one is right. A browser
// doesn't send the token by itself (it is no cookie), and what another site's page sends is refused all the same: by Origin, Sec-Fetch-Site, and
// the content type of the body, which no form can have.
//
// # Bounds
//
// A body has MostBytes at most. A Server keeps nothing of a request but the count of wrong tokens.
//
// # The worst moments
//
// A handler is given whatever a client sent: names and values of any bytes, which the JSON writer escapes such that they are text to a browser, too.
// A request dies between Begin and Finish: nothing was kept, nothing was changed.
package admin
