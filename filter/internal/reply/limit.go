package reply

import (
	"strconv"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// maxShown bounds what is copied from a request into a message.
const maxShown = 128

// limited says that a limit has no room.
func limited(v *gate.Verdict, a *About) string {
	of, used := v.Limit.Unit.Noun, ", now "
	if v.Limit.Window != 0 {
		of, used = of+" per "+Window(v.Limit.Window), ", used "
	}
	size := strconv.FormatInt(v.Limit.Burst, 10)
	where := " (limit " + v.Limit.Name + ")"
	switch {
	case v.Reason == gate.Contended:
		return "Limit " + v.Limit.Name + " could not be checked in time."
	case v.Wait == gate.Never:
		return "Request too large for " + modelName(a.Model) + " on " + of + ": limit " + size + ", requested " +
			strconv.FormatInt(v.Requested, 10) + ". Ask for at most " + size + "; waiting will not help." + where
	}
	return "Rate limit reached for " + modelName(a.Model) + " on " + of + ": limit " + size +
		used + strconv.FormatInt(int64(v.Measured), 10) + ", requested " + strconv.FormatInt(v.Requested, 10) + "."
}

// AppendHeadroom appends the x-ratelimit-* headers of a limit; none if no limit applied, or one without a window: they speak of what
// can be used in a time, and clients that pace themselves by them would take it for that.
func AppendHeadroom(headers [][2]string, h gate.Headroom) [][2]string {
	if h.Limit == nil || h.Limit.Window == 0 {
		return headers
	}
	names := &tokenHeaders
	if !h.Limit.Unit.Tokens() {
		names = &requestHeaders
	}
	return append(headers,
		[2]string{names[0], strconv.FormatInt(h.Limit.Burst, 10)},
		[2]string{names[1], strconv.FormatInt(h.Remaining, 10)},
		[2]string{names[2], Duration(h.Reset)})
}

var (
	tokenHeaders   = [3]string{"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"}
	requestHeaders = [3]string{"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}
)

func modelName(model string) string {
	switch {
	case model == "":
		return "any model"
	case len(model) > maxShown:
		return model[:maxShown] + "…"
	default:
		return model
	}
}
