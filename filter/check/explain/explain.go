// Package explain says in sentences what a configuration does: who is limited, by what, how much, and what happens then; what upstreams take, and
// which gates refuse when; who is believed. It reads the parsed configuration, as the filter does, so that it says what holds and not what was
// meant. What it has no sentence for, and is otherwise than by default, it names with its value.
package explain

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

// Text is all there is to say of a configuration, in lines.
func Text(c *config.Config) string {
	var t text
	t.limits(c)
	t.upstreams(c)
	t.callers(c)
	t.rest(c)
	return t.String()
}

// Traffic is what becomes of requests: limits and upstreams.
func Traffic(c *config.Config) string {
	var t text
	t.limits(c)
	t.upstreams(c)
	return t.String()
}

// text is lines under headings.
type text struct{ strings.Builder }

func (t *text) head(format string, args ...any)  { fmt.Fprintf(t, format+"\n", args...) }
func (t *text) entry(format string, args ...any) { fmt.Fprintf(t, "  "+format+"\n", args...) }
func (t *text) more(format string, args ...any)  { fmt.Fprintf(t, "    "+format+"\n", args...) }

// rest names what no sentence is about, and is set otherwise than by default.
func (t *text) rest(c *config.Config) {
	standard, err := config.Parse([]byte(bare(c)))
	if err != nil {
		return
	}
	var differences []struct {
		Path  string
		Value json.RawMessage
	}
	if json.Unmarshal(config.Differences(&standard, c), &differences) != nil {
		return
	}
	begun := false
	for _, d := range differences {
		if said(d.Path) {
			continue
		}
		if !begun {
			t.head("Also set:")
			begun = true
		}
		t.entry("%s: %s", index.ReplaceAllString(strings.ReplaceAll(strings.TrimPrefix(d.Path, "/"), "/", "."), "[$1]"), d.Value)
	}
}

// bare is a configuration with as many limits and upstreams, in which all else is as by default.
func bare(c *config.Config) string {
	var limits, upstreams []string
	for i := range c.Limits {
		limits = append(limits, fmt.Sprintf(`{"name": "l%d", "unit": "requests", "quantity": 1, "window": "1s"}`, i))
	}
	for i := range c.Upstreams {
		upstreams = append(upstreams, fmt.Sprintf(`{"name": "u%d", "models": ["m%d"]}`, i, i))
	}
	return fmt.Sprintf(`{"limits": [%s], "upstreams": [%s]}`, strings.Join(limits, ","), strings.Join(upstreams, ","))
}

// index is that of a list, in a path.
var index = regexp.MustCompile(`\.([0-9]+)`)

// sentences are the parts of the configuration that have some.
var sentences = regexp.MustCompile(`^/(mode|requestHold|unknown|statusCode|identity|priority|fleet|pressureSource|admin|models/unread|usage/cost|prices|unpriced|` +
	`limits/\d+/(name|per|unit|quantity|window|burst|refill|timezone|admission|lifetime|idle|mode|scope|refund|nearly|match/(models|operations|priorities|tenants|groups|headers))|` +
	`upstreams/\d+/(name|models|budget/(requests|tokens|window|burst)|concurrency/(max|min|limit|reserved)|queue/(max|maxBytes|whenFull|maxWait|fairness|deadline)|` +
	`retreat|latency|throttle|breaker|pressure))(/|$)`)

// said tells whether a part of the configuration has sentences.
func said(path string) bool { return sentences.MatchString(path) }

// span is a time as one says it.
func span(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d >= unit.of && d%unit.of == 0 {
			return count(int64(d/unit.of), unit.name)
		}
	}
	return d.String()
}

// each is "an hour", or "in 5 minutes".
func each(d time.Duration) string {
	one, is := strings.CutPrefix(span(d), "1 ")
	switch {
	case !is:
		return "in " + span(d)
	case one == "hour":
		return "an hour"
	}
	return "a " + one
}

func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// list is "a, b and c".
func list(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}

// percent is a share as one says it.
func percent(share float64) string {
	return strconv.FormatFloat(share*100, 'f', -1, 32) + " %"
}

// priorities are all, the first to go first.
var priorities = []config.Priority{config.Urgent, config.High, config.Normal, config.Low}

func name(p config.Priority) string { return strings.ToLower(p.String()) }

// anyOf is what globs stand for; "" is everything.
func anyOf(globs []string) string {
	if len(globs) == 0 || slices.Contains(globs, "*") {
		return ""
	}
	return list(globs, "or")
}

// onlySo is what comes of a verdict by a mode.
func onlySo(mode config.Mode, refusal string) string {
	if mode == config.Shadow {
		return "recorded (decision SHADOW), and let pass: mode shadow"
	}
	return refusal
}
