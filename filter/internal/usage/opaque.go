package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// Opaque stands for the dialects that nobody here knows: what a request asks for, and what an answer brings, can't be told but by its
// size. It belongs to no path by itself (config.Unknown).
var Opaque Dialect = opaque{}

type opaque struct{}

func (opaque) Name() string                  { return "opaque" }
func (opaque) Operation() string             { return OperationOther }
func (opaque) Provider() string              { return "" }
func (opaque) Outputs() bool                 { return true }
func (opaque) Cumulative() bool              { return false }
func (opaque) TokenPerPiece() bool           { return false }
func (opaque) fromPath(_ string, r *Request) { r.Unread = Undescribed }
func (opaque) requestPaths() *jsonscan.Node  { return nothing }
func (opaque) request(*draft, value)         {}
func (opaque) responsePaths() *jsonscan.Node { return nothing }
func (opaque) response(*document, value)     {}
func (opaque) silent(*document) bool         { return false }

var nothing = jsonscan.Compile()
