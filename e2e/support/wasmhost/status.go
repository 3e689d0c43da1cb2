package wasmhost

// status is what a proxy-wasm host call answers.
type status uint64

// The values are the ABI's.
const (
	statusOK                  status = 0
	statusNotFound            status = 1
	statusBadArgument         status = 2
	statusInvalidMemoryAccess status = 6
	statusCasMismatch         status = 8
	statusInternalFailure     status = 10
	statusUnimplemented       status = 12
)

// Action is what the filter answered to a callback, after Envoy's corrections:
// a callback that sent a local response counts as Pause whatever it returned.
type Action int

// The actions of a stream callback.
const (
	// Continue lets the message pass.
	Continue Action = iota
	// Pause holds the message until it is resumed.
	Pause
	// NotCalled means that the host didn't call the filter: the stream was held at
	// its headers, or was over.
	NotCalled
)

// String returns the action's name.
func (a Action) String() string {
	switch a {
	case Continue:
		return "Continue"
	case Pause:
		return "Pause"
	case NotCalled:
		return "NotCalled"
	}
	return "Action(?)"
}

// Level is a log level of the ABI.
type Level int

// The log levels.
const (
	LevelTrace Level = iota
	LevelDebug
	LevelInfo
	LevelWarn
	LevelError
	LevelCritical
)

// String returns the level's name.
func (l Level) String() string {
	names := [...]string{"trace", "debug", "info", "warn", "error", "critical"}
	if l < 0 || int(l) >= len(names) {
		return "level(?)"
	}
	return names[l]
}
