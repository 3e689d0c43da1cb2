// Package page is the dashboard that the filter serves: one page, without anything from elsewhere, that asks the admin surface how the proxy is
// doing and lets an operator change what can be changed while it runs.
//
// Its sources lie in src, as a person reads them. filter/generate joins them to one page, with the names, docs and ranges of the configuration's
// values in it, so that they are never other than those that the filter takes. It is kept compressed, once: a browser takes it as it is, and for who
// doesn't take gzip package inflate, which the filter has anyway, unpacks it. The page is no secret, so everybody may have it who reaches the admin
// surface; what it shows and changes is asked of that, with the token that its reader enters.
//
// The page holds no state of the proxy's. The worst that can happen to it are names and models that clients have made up: it shows them as text, and
// its policy lets a browser run no script but the page's own, whatever stands in it.
package page

import _ "embed" // of the page

// policy:begin

// Policy is the page's Content-Security-Policy: its own style and script, and nothing else.
const Policy = "default-src 'none'; style-src 'sha256-TNpMzQbMb2DeBTYyPbeTkCJVIHxtvCFG2vqcA9Ws74o='; script-src 'sha256-tGMlka+HfL18DyDtLMfMA4nSjr4SVGYKaUaKb56rR0s='; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ETag changes with the page.
const ETag = `"65765d840b9be0a5"`

// policy:end

// Gzip is the page, compressed.
//
//go:embed page.html.gz
var Gzip string
