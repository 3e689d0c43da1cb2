package replay

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

// The bounds of what is counted apart.
const (
	maxSubjects = 100_000
	maxHours    = 24 * 366
	shownTop    = 10 // of each limit's subjects
	others      = "(others)"
)

// report is what became of the requests.
type report struct {
	garbage, late, nobody, strange int // lines
	first, last                    time.Time
	requests, refusedThen          int
	refused, waited, shadowed      int
	tokens                         int64 // of those refused
	by                             map[string]*reason
	subjects                       int
	hours                          map[string]*hour
}

// reason is one that requests were refused for: gate/reason, and a limit's name.
type reason struct {
	n, shadow int
	subjects  map[string]int
}

type hour struct{ requests, refused int }

func (t *report) arrived(l *line, late bool) {
	t.requests++
	if late {
		t.late++
	}
	if l.User == "" && l.Tenant == "" && l.Key == "" {
		t.nobody++
	}
	if _, known := forms[l.Operation]; !known && l.Prompt+l.Completion > 0 {
		t.strange++
	}
	if l.refused() {
		t.refusedThen++
	}
	if t.first.IsZero() || l.Time.Before(t.first) {
		t.first = l.Time
	}
	if l.Time.After(t.last) {
		t.last = l.Time
	}
}

// ended takes what became of a request.
func (t *report) ended(x *request) {
	h := t.hour(x.Time)
	h.requests++
	why, refused := x.decided["refused"]
	shadow := x.decided["spillway.decision"] == "SHADOW"
	switch {
	case refused:
		t.refused++
		h.refused++
		t.tokens += int64(x.Prompt + x.Completion)
	case shadow:
		t.shadowed++
		why = x.decided["spillway.gate"] + "/" + x.decided["spillway.reason"]
	default:
		if x.decided["spillway.queue.ms"] != "" || x.decided["spillway.decision"] == "QUEUED" {
			t.waited++
		}
		return
	}
	if limit := x.decided["spillway.limit"]; limit != "" {
		why += " by limit " + limit
	}
	t.count(why, x.decided["spillway.subject"], refused)
}

func (t *report) count(why, subject string, refused bool) {
	if t.by == nil {
		t.by = map[string]*reason{}
	}
	r := t.by[why]
	if r == nil {
		if len(t.by) > 1000 {
			why = others
		}
		r = &reason{subjects: map[string]int{}}
		t.by[why] = r
	}
	if refused {
		r.n++
	} else {
		r.shadow++
	}
	subject = cmp.Or(subject, "everybody")
	if _, known := r.subjects[subject]; !known {
		if t.subjects >= maxSubjects {
			subject = others
		}
		t.subjects++
	}
	r.subjects[subject]++
}

func (t *report) hour(at time.Time) *hour {
	if t.hours == nil {
		t.hours = map[string]*hour{}
	}
	name := at.UTC().Format("2006-01-02 15:00")
	if t.hours[name] == nil {
		if len(t.hours) >= maxHours {
			name = others
		}
		if t.hours[name] == nil {
			t.hours[name] = &hour{}
		}
	}
	return t.hours[name]
}

// write tells all.
func (t *report) write(out io.Writer, cfg *config.Config) {
	fmt.Fprintf(out, "%d requests", t.requests)
	if t.requests > 0 {
		fmt.Fprintf(out, ", from %s to %s", t.first.UTC().Format(time.RFC3339), t.last.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(out, ". %d lines were left out: they aren't JSON, or have no time.\n", t.garbage)
	fmt.Fprintf(out, "Refused would have been %d (%s), which used %d tokens; then %d were.", t.refused, part(t.refused, t.requests), t.tokens, t.refusedThen)
	fmt.Fprintf(out, " %d more would have waited, and passed.", t.waited)
	if t.shadowed > 0 {
		fmt.Fprintf(out, " %d would have been recorded in shadow mode, and passed.", t.shadowed)
	}
	fmt.Fprintln(out)
	t.reasons(out)
	t.byHour(out)
	t.unknown(out, cfg)
}

func part(n, of int) string {
	if of == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}

func (t *report) reasons(out io.Writer) {
	for _, why := range slices.SortedFunc(maps.Keys(t.by), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.by[b].n+t.by[b].shadow, t.by[a].n+t.by[a].shadow), strings.Compare(a, b))
	}) {
		r := t.by[why]
		fmt.Fprintf(out, "\n%s: %d refused", why, r.n)
		if r.shadow > 0 {
			fmt.Fprintf(out, ", %d in shadow mode", r.shadow)
		}
		fmt.Fprintln(out)
		top := slices.SortedFunc(maps.Keys(r.subjects), func(a, b string) int {
			return cmp.Or(cmp.Compare(r.subjects[b], r.subjects[a]), strings.Compare(a, b))
		})
		for i, subject := range top {
			if i == shownTop {
				fmt.Fprintf(out, "  ... and %d more\n", len(top)-shownTop)
				break
			}
			fmt.Fprintf(out, "  %7d  %q\n", r.subjects[subject], subject)
		}
	}
}

func (t *report) byHour(out io.Writer) {
	if t.refused == 0 {
		return
	}
	fmt.Fprintln(out, "\nby hour (UTC): refused, of requests")
	for _, name := range slices.Sorted(maps.Keys(t.hours)) {
		if h := t.hours[name]; h.refused > 0 {
			fmt.Fprintf(out, "  %s  %7d  %7d\n", name, h.refused, h.requests)
		}
	}
}

// unknown says what the log can't tell.
func (t *report) unknown(out io.Writer, cfg *config.Config) {
	fmt.Fprintln(out, "\nnot known from a log:")
	say := func(n int, format string, args ...any) {
		if n > 0 {
			fmt.Fprintf(out, "- "+format+"\n", args...)
		}
	}
	say(t.nobody, "who asked, of %d requests (keys user, tenant, key): they count as one caller", t.nobody)
	say(t.refusedThen, "what the %d that were refused then would have used: as others of their model", t.refusedThen)
	say(t.late, "the place of %d that came too late in the log: they count as of the time they were met", t.late)
	say(t.strange, "the form of %d with tokens of other operations: these aren't counted", t.strange)
	say(1, "whether a client would have tried again, and what a request states as its bound")
	if len(cfg.Upstreams) > 0 {
		say(1, "how the server's times would have changed: latency, throttle, breaker, pressure and learned slots are left out")
	}
	if cfg.Fleets() {
		say(1, "which proxy a request came to: limits of the fleet count all lines together")
	}
}
