package admit

import (
	"strings"
)

// Which requests are governed by what their paths say. Methods alone don't tell: some servers read lower-case ones, some look at
// no method at all, some are told another one by a header. What makes a server work is a body.

// governed says that a request may make the server work as its path says: it has a body, or a method that goes with one. A
// request that asks for another protocol, such as a websocket, is none of these; what it will send is not a body.
func (e *Engine) governed(s *Stream, end bool) bool {
	switch strings.ToUpper(s.method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "DELETE":
		return !end && !e.upgrades(s)
	}
	return true
}

func (e *Engine) upgrades(s *Stream) bool {
	return s.headers.Get(e.slots.upgrade) != "" && strings.Contains(strings.ToLower(s.headers.Get(e.slots.connection)), "upgrade")
}
