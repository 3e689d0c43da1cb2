package reply

import (
	"math"
	"strconv"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
)

// maxShown bounds what is copied from a request into a message.
const maxShown = 128

// Limits is the gate of the limits, as it is named in answers, metrics and the decision record.
const Limits = "limits"

// LimitReason is the reason of a denial: a closed set.
func LimitReason(d *limit.Denial) string {
	switch {
	case d.Contended:
		return "contended"
	case d.Never():
		return "request_too_large"
	case d.Limit.Unit == config.Requests:
		return "requests_exceeded"
	case d.Limit.Unit == config.Cost:
		return "cost_exceeded"
	default:
		return "tokens_exceeded"
	}
}

// Denied writes the answer to a request that a limit refused.
func Denied(format Format, status int, model string, d *limit.Denial) *Reply {
	kind := "tokens"
	if d.Limit.Unit == config.Requests {
		kind = "requests"
	}
	r := New(format, Refusal{
		Status:  status,
		Reason:  Limits + "/" + LimitReason(d),
		Message: message(model, d),
		Kind:    kind,
		Code:    "rate_limit_exceeded",
		Wait:    d.Wait,
	})
	h := limit.Headroom{Limit: d.Limit, Reset: resetOf(d)}
	if !d.Contended {
		h.Remaining = max(d.Limit.Burst-d.Used, 0)
	}
	r.Headers = AppendHeadroom(r.Headers, h)
	return r
}

// resetOf is the time until the bucket is full; unknown where it could not be read.
func resetOf(d *limit.Denial) int64 {
	if d.Contended {
		return d.Wait
	}
	perUnit := float64(d.Limit.Window) / float64(d.Limit.Quantity)
	return int64(min(float64(d.Used)*perUnit, math.MaxInt64/2))
}

func message(model string, d *limit.Denial) string {
	if model == "" {
		model = "any model"
	}
	model = cut(model)
	of := unitName(d.Limit.Unit) + " per " + Window(d.Limit.Window)
	size := strconv.FormatInt(d.Limit.Burst, 10)
	where := " (limit " + d.Limit.Name + ")"
	switch {
	case d.Contended:
		return "Limit " + d.Limit.Name + " could not be checked in time. Please try again in " + Duration(d.Wait) + "."
	case d.Never():
		return "Request too large for " + model + " on " + of + ": limit " + size + ", requested " +
			strconv.FormatInt(d.Requested, 10) + ". Ask for at most " + size + "; waiting will not help." + where
	}
	return "Rate limit reached for " + model + " on " + of + ": limit " + size +
		", used " + strconv.FormatInt(d.Used, 10) + ", requested " + strconv.FormatInt(d.Requested, 10) +
		". Please try again in " + Duration(d.Wait) + "." + where
}

func unitName(u config.Unit) string {
	switch u {
	case config.Requests:
		return "requests"
	case config.PromptTokens:
		return "prompt tokens"
	case config.CompletionTokens:
		return "tokens"
	case config.TotalTokens:
		return "total tokens"
	default:
		return "cost units"
	}
}

// AppendHeadroom appends the x-ratelimit-* headers of a limit; none if no limit applied.
func AppendHeadroom(headers [][2]string, h limit.Headroom) [][2]string {
	if h.Limit == nil {
		return headers
	}
	names := &tokenHeaders
	if h.Limit.Unit == config.Requests {
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

func cut(s string) string {
	if len(s) > maxShown {
		return s[:maxShown] + "…"
	}
	return s
}
