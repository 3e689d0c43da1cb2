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

import (
	_ "embed" // of the page
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/inflate"
)

// policy:begin

// Policy is the page's Content-Security-Policy: its own style and script, and nothing else.
const Policy = "default-src 'none'; style-src 'sha256-RqJiS9qzGQW1+HCpUL7auxMafcaCySa73v8CDq+I048='; script-src 'sha256-77oX71J7wqA0TR8kFyXf8CPfcj17sJiVm+jXwPqOlO4='; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// policy:end

// Gzip is the page, compressed. It isn't to be changed.
//
//go:embed page.html.gz
var Gzip []byte

// HTML is the page, for who doesn't take gzip.
func HTML() []byte {
	var text []byte
	unpacker := inflate.Reader{Accept: func(p []byte) bool {
		text = append(text, p...)
		return true
	}}
	if unpacker.Write(Gzip) != nil {
		return nil // it can't be: a test unpacks it
	}
	return text
}

// TakesGzip says that a client takes what is compressed by gzip, as its accept-encoding says (RFC 9110, section 12.5.3).
func TakesGzip(accepted string) bool {
	for part := range strings.SplitSeq(accepted, ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			_, q, _ := strings.Cut(weight, "=")
			return strings.Trim(q, " 0.") != "" || strings.TrimSpace(q) == ""
		}
	}
	return false
}
