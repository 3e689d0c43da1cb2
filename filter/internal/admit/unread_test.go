package admit

import (
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// hidden are requests whose model a server may see, and the filter not.
var hidden = []struct {
	name    string
	body    string // "": none
	headers [][2]string
	why     string
}{
	{"no body", "", nil, "no_body"},
	{"no body, by PUT", "", [][2]string{{":method", "PUT"}}, "no_body"},
	{"no model", `{"messages":[]}`, nil, "missing"},
	{"null", `{"model":null}`, nil, "missing"},
	{"a list", `[{"model":"mock"}]`, nil, "missing"},
	{"two models", `{"model":"free","model":"mock"}`, nil, "ambiguous"},
	{"two models, the other way round", `{"model":"mock","model":"free"}`, nil, "ambiguous"},
	{"another case", `{"MODEL":"free"}`, nil, "ambiguous"},
	{"a comment", `{"model":"free",/**/"model":"mock"}`, nil, "malformed"},
	{"brotli", "\x8b\x02\x80", [][2]string{{"content-encoding", "br"}}, "encoded"},
	{"brotli, by the header alone", `{"model":"free"}`, [][2]string{{"content-encoding", "br"}}, "encoded"},
	{"gzip twice in two headers", `{"model":"free"}`, [][2]string{{"content-encoding", "gzip"}, {"content-encoding", "gzip"}}, "encoded"},
	{"utf-7", `{"model":"free","+AG0-odel":"mock"}`, [][2]string{{"content-type", "a/b; charset=utf-7"}}, "encoded"},
	{"a large body", `{"x":"` + strings.Repeat("y", 2000) + `","model":"mock"}`, nil, "too_large"},
	{"a name too long", `{"model":"` + strings.Repeat("m", 300) + `"}`, nil, "too_long"},
}

// hide sends one of them.
func (h *host) hide(i int) *exchange {
	headers := [][2]string{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"content-type", "application/json"}, {"x-user-id", "ada"}}
	for _, more := range hidden[i].headers {
		replaced := false
		for at := range headers[:2] {
			if headers[at][0] == more[0] {
				headers[at], replaced = more, true
			}
		}
		if more[0] == "content-type" {
			headers[2], replaced = more, true
		}
		if !replaced {
			headers = append(headers, more)
		}
	}
	x := h.startWith(headers, hidden[i].body == "")
	if hidden[i].body != "" && x.last.Action != Answer {
		half := len(hidden[i].body) / 2
		if x.body(hidden[i].body[:half], false); x.last.Action != Answer {
			x.body(hidden[i].body[half:], true)
		}
	}
	return x
}

func refusedFor(x *exchange) string {
	if x.last.Reply == nil {
		return ""
	}
	return header(x.last.Reply.Headers, "x-spillway-reason")
}

const unreadUsage = `"usage":{"maxRequestBytes":1000},`

func TestAModelThatCanNotBeToldMatchesEveryLimitOfModels(t *testing.T) {
	for i, test := range hidden {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			t.Run(test.name+" "+hold, func(t *testing.T) {
				h := newHost(t, `{"requestHold":"`+hold+`",`+unreadUsage+`"limits":[
					{"name":"mock","match":{"models":["mock*"]},"unit":"requests","quantity":3,"window":"1h"},
					{"name":"dear","match":{"models":["dear"]},"unit":"requests","quantity":2,"window":"1h"},
					{"name":"each","per":["model"],"match":{"models":["free*"]},"unit":"requests","quantity":5,"window":"1h"}]}`, recordtest.NewMemory())
				for n := range 2 {
					if x := h.hide(i); refusedFor(x) != "" {
						t.Fatalf("%d is refused: %s", n, refusedFor(x))
					} else {
						x.answer(used(1, 1))
					}
				}
				x := h.hide(i)
				expect(t, "the third", refusedFor(x), "limits/requests_exceeded")
				expect(t, "by", x.properties["spillway.limit"], "dear")
				x.done()
				expect(t, "counted", h.counts["uncharged model_unread"], 3)
				expect(t, "lines in the log", len(h.notes), 1)
				h.idle()
			})
		}
	}
}

// What names another model is none of the limit's business.
func TestAModelThatIsToldMatchesItsOwnLimitsOnly(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration",`+unreadUsage+`"limits":[
		{"name":"mock","match":{"models":["mock*"]},"unit":"requests","quantity":1,"window":"1h"}],
		"upstreams":[{"name":"mock","models":["mock*"],"concurrency":{"max":1},"queue":{"max":0}}]}`, recordtest.NewMemory())
	for _, body := range []string{
		`{"model":"free"}`, `{"model":"free","x":NaN}`, "\ufeff{\"model\":\"free\"}", `{"model":"free","model":"free"}`,
		`{"model":"free","x":"` + strings.Repeat("y", 3000) + `"}`,
	} {
		x := h.start("ada", false)
		x.body(body, true)
		expect(t, body[:16], refusedFor(x), "")
		expect(t, "action", x.last.Action, Continue)
	}
	expect(t, "counted", h.counts["uncharged model_unread"], 0)
	expect(t, "log", len(h.notes), 0)
}

func TestAModelThatCanNotBeToldGoesToTheFirstUpstream(t *testing.T) {
	for i, test := range hidden {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			t.Run(test.name+" "+hold, func(t *testing.T) {
				h := newHost(t, `{"requestHold":"`+hold+`",`+unreadUsage+`"upstreams":[
					{"name":"mock","models":["mock*"],"concurrency":{"max":1}},
					{"name":"dear","models":["dear*"],"concurrency":{"max":1}}]}`, recordtest.NewMemory())
				var passed int
				for range 6 {
					if x := h.hide(i); x.last.Action == Continue {
						passed++
					}
				}
				expect(t, "passed at once", passed, 1)
			})
		}
	}
}

// Of a body that can't be read to its end, the name that was found says which upstream it is for.
func TestAFoundNameChoosesTheUpstream(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","upstreams":[
		{"name":"mock","models":["mock*"],"concurrency":{"max":1},"queue":{"max":0}},
		{"name":"dear","models":["dear*"],"concurrency":{"max":1},"queue":{"max":0}}]}`, recordtest.NewMemory())
	x := h.start("ada", false)
	x.body(`{"model":"dear",}`, true)
	expect(t, "the first", refusedFor(x), "")
	y := h.start("ada", false)
	y.body(`{"model":"dear"}`, true)
	expect(t, "its upstream is full", refusedFor(y), "queue/shed")
	z := h.start("ada", false)
	z.body(`{"model":"mock"}`, true)
	expect(t, "the other isn't", refusedFor(z), "")
}

func TestAModelThatCanNotBeToldIsRejected(t *testing.T) {
	for i, test := range hidden {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			h := newHost(t, `{"requestHold":"`+hold+`","models":{"unread":"reject"},`+unreadUsage+seedLimits+`}`, recordtest.NewMemory())
			x := h.hide(i)
			if x.last.Reply == nil || x.last.Reply.Status != 400 || refusedFor(x) != "model/"+test.why {
				t.Errorf("%s, %s: %+v", test.name, hold, x.last.Reply)
				continue
			}
			expect(t, "retries", header(x.last.Reply.Headers, "x-should-retry"), "false")
			x.done()
			expect(t, "balance", h.balance("ada"), 300)
			h.idle()
			if test.body == "" {
				continue
			}
			shadow := newHost(t, `{"mode":"shadow","requestHold":"`+hold+`","models":{"unread":"reject"},`+unreadUsage+seedLimits+`}`, recordtest.NewMemory())
			y := shadow.hide(i)
			expect(t, test.name+" in shadow mode", refusedFor(y), "")
			expect(t, "decision", y.properties["spillway.decision"]+" "+y.properties["spillway.reason"], "SHADOW "+test.why)
		}
	}
}

func TestAModelThatCanNotBeToldIsTakenForAnother(t *testing.T) {
	for i, test := range hidden {
		h := newHost(t, `{"requestHold":"stopIteration","models":{"unread":"mock-default"},`+unreadUsage+`"limits":[
			{"name":"mock","per":["model"],"match":{"models":["mock*"]},"unit":"requests","quantity":1,"window":"1h"},
			{"name":"dear","match":{"models":["dear"]},"unit":"requests","quantity":1,"window":"1h"}]}`, recordtest.NewMemory())
		expect(t, test.name+", the first", refusedFor(h.hide(i)), "")
		x := h.hide(i)
		expect(t, test.name+", the second", refusedFor(x), "limits/requests_exceeded")
		expect(t, "by", x.properties["spillway.limit"], "mock")
		expect(t, "counted", h.counts["uncharged model_unread"], 2)
	}
}

// A cost that depends on the model is the highest of all where the model can't be told.
func TestAHiddenModelIsAsDearAsTheDearest(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","usage":{"cost":[{"models":["free"],"prompt":1,"completion":1},{"models":["dear"],"prompt":7,"completion":7}]},
		"limits":[{"name":"c","per":["user"],"unit":"cost","quantity":1000,"window":"8760h"}]}`, recordtest.NewMemory())
	x := h.start("ada", false)
	x.body(`{"max_tokens":10}`, true)
	x.answer(used(10, 10))
	expect(t, "balance", h.balance("ada"), 1000-140)
}

// The cheaper name in front of where reading stops, the other behind it: the server must not have the whole of it.
func TestAModelBehindTheFirstPartOfALargeBody(t *testing.T) {
	filler := `"x":"` + strings.Repeat("y", 100<<10) + `"`
	for _, test := range []struct {
		name, body string
		refused    string
		uncharged  int64
	}{
		{"another one", `{"model":"free",` + filler + `,"model":"mock"}`, "model/changed", 1},
		{"in another case", `{"model":"free",` + filler + `,"Model":"mock"}`, "model/changed", 1},
		{"null", `{"model":"free",` + filler + `,"model":null}`, "model/changed", 1},
		{"what isn't JSON", `{"model":"free",` + filler + `,/**/"model":"mock"}`, "model/changed", 1},
		{"no end", `{"model":"free",` + filler, "model/changed", 1},
		{"the same", `{"model":"free",` + filler + `,"model":"free"}`, "", 0},
		{"none", `{"model":"free",` + filler + `}`, "", 0},
		{"the only one", `{` + filler + `,"model":"mock"}`, "", 1},
	} {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			for _, announced := range []bool{false, true} {
				t.Run(test.name+" "+hold, func(t *testing.T) {
					h := newHost(t, `{"requestHold":"`+hold+`",`+unreadUsage+`"limits":[
						{"name":"mock","per":["user"],"match":{"models":["mock","free"]},"unit":"completionTokens","quantity":300,"window":"8760h"}],
						"upstreams":[{"name":"free","models":["free"],"concurrency":{"max":1},"queue":{"max":0}}]}`, recordtest.NewMemory())
					var length [][2]string
					if announced {
						length = [][2]string{{"content-length", strconv.Itoa(len(test.body))}}
					}
					x := h.start("ada", false, length...)
					for at := 0; at < len(test.body) && refusedFor(x) == ""; at += 16 << 10 {
						end := min(at+16<<10, len(test.body))
						x.body(test.body[at:end], end == len(test.body))
					}
					expect(t, "refused", refusedFor(x), test.refused)
					expect(t, "counted", h.counts["uncharged model_unread"], test.uncharged)
					if test.refused == "" {
						expect(t, "action", x.last.Action, Continue)
						x.answer(used(1, 1))
					}
					x.done()
					expect(t, "requests", h.requests(), 1)
					expect(t, "the slot is free", refusedFor(h.ask("ada")), "")
				})
			}
		}
	}
}

// A shadow decides nothing.
func TestAModelBehindTheFirstPartInShadowMode(t *testing.T) {
	h := newHost(t, `{"mode":"shadow","requestHold":"stopIteration",`+unreadUsage+`"limits":[
		{"name":"mock","match":{"models":["mock"]},"unit":"requests","quantity":3,"window":"1h"}]}`, recordtest.NewMemory())
	x := h.start("ada", false)
	x.body(`{"model":"free","x":"`+strings.Repeat("y", 2000)+`"`, false)
	x.body(`,"model":"mock"}`, true)
	expect(t, "refused", refusedFor(x), "")
	expect(t, "counted", h.counts["uncharged model_unread"], 1)
	x.answer(used(1, 1))
	expect(t, "the name at last", x.properties["gen_ai.request.model"], "mock")
	h.idle()
}

// One model isn't several by how its name is written.
func TestSpellingsOfAModelAreOneModel(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","models":{"aliases":{"Prod":"mock"}},"limits":[
		{"name":"a","per":["model"],"match":{"models":["Mock*"]},"unit":"requests","quantity":6,"window":"8760h","admission":"strict"}]}`, recordtest.NewMemory())
	names := []string{"mock", "MOCK", " mock ", "models/mock", "prod", "PROD"}
	for i, name := range append(names, names...) {
		x := h.start("ada", false)
		x.body(`{"model":"`+name+`"}`, true)
		expect(t, name+" is refused", x.last.Action == Answer, i >= len(names))
	}
}
