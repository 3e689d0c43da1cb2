package reply

// Queue is the gate in front of an upstream, as it is named in answers, metrics and the decision record.
const Queue = "queue"

// Wait is what became of a request that did not get its turn.
type Wait struct {
	Upstream, Priority string
	Reason             string // a closed set: full, timeout, dropped, shed
	Waited             int64  // nanoseconds
	Advice             int64  // nanoseconds until it is worth trying again
}

// Queued writes the answer to it.
func Queued(format Format, status int, w Wait) *Reply {
	r := Refusal{Status: status, Reason: Queue + "/" + w.Reason, Kind: "server_error", Code: "service_unavailable", Wait: w.Advice}
	if status == 429 {
		r.Kind, r.Code = "requests", "rate_limit_exceeded"
	}
	of := "upstream " + w.Upstream
	switch w.Reason {
	case "timeout":
		r.Message = "Waited " + Duration(w.Waited) + " for " + of + ", as long as a request of priority " + w.Priority + " may."
	case "dropped":
		r.Message = "Made room for a request that goes before it, after waiting " + Duration(w.Waited) + " for " + of + "."
	case "shed":
		r.Message = "There is no room at " + of + " for a request of priority " + w.Priority + "."
	default:
		r.Message = "The queue for " + of + " is full."
	}
	r.Message += " Please try again in " + Duration(w.Advice) + "."
	return New(format, r)
}
