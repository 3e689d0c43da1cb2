// Package abi is what the filter uses of Proxy-Wasm's binary interface, version 0.2
// (https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1): the calls to the host, and the memory for what it hands in. The other
// direction, the host's callbacks, is package plugin's. It knows nothing of the filter.
//
// # Memory
//
// What the host hands in lies in an arena, which Enter empties: the plugin calls it when a callback begins. So a value that a call has given
// is good until the callback ends, and must be copied by whoever keeps it for longer. A build with the tag spillway_trap overwrites the arena when
// it is emptied, so that tests see what was kept. What is handed out to the host is read by it during the call.
//
// # The worst moments
//
// The host hands in more than fits: that gets memory of its own, the largest of which is kept for the next time, up to a bound. The host refuses a
// call: its status says why, and nothing was given. A worker has one thread, and the host makes no callback while another runs, but for
// memory.
package abi

// Status is what the host says of a call.
type Status uint32

// The statuses that matter; the others are errors like any.
const (
	OK          Status = 0
	NotFound    Status = 1
	CasMismatch Status = 8
)

// Error gives the status as text.
func (s Status) Error() string {
	names := [...]string{"ok", "not found", "bad argument", "serialization failure", "parse failure", "bad expression", "invalid memory access", "empty",
		"compare-and-swap mismatch", "result mismatch", "internal failure", "broken connection", "unimplemented"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown status"
}

// Map names a message's headers.
type Map uint32

// The maps.
const (
	RequestHeaders      Map = 0
	ResponseHeaders     Map = 2
	CallResponseHeaders Map = 6
)

// Buffer names what a message's body, or something else of that kind, is held in.
type Buffer uint32

// The buffers.
const (
	RequestBody         Buffer = 0
	ResponseBody        Buffer = 1
	CallResponseBody    Buffer = 4
	PluginConfiguration Buffer = 7
)

// Action is what a callback answers: what becomes of the message as far as it came.
type Action uint32

// The actions.
const (
	Continue Action = 0
	Pause    Action = 1
)

// Level is a log line's.
type Level uint32

// The levels.
const (
	Info     Level = 2
	Warn     Level = 3
	Error    Level = 4
	Critical Level = 5
)

// Kind is a metric's.
type Kind uint32

// The kinds.
const (
	Counter   Kind = 0
	Gauge     Kind = 1
	Histogram Kind = 2
)
