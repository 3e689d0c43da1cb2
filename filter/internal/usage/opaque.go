package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// Opaque stands for the dialects that nobody here knows: what a request asks for, and what an answer brings, can't be told but by its
// size. It belongs to no path by itself (config.Unknown).
var Opaque = &Dialect{
	Name: "opaque", Operation: OperationOther, Errors: &openAIErrors, Outputs: true, anyForm: true,
	fromPath:     func(string) Request { return Request{Unread: Undescribed} },
	requestPaths: nothing, request: func(*draft, value) {},
	responsePaths: nothing, response: func(*document, value) {}, silent: func(*document) bool { return false },
}

var nothing = jsonscan.Compile()
