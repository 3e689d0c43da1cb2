package account

import (
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// How an exchange can end, and what it costs. The table in the package's comment is this one.
func TestWhatEachEndingCosts(t *testing.T) {
	const (
		left     = false
		complete = true
	)
	hologram := `data: {"choices":[{"delta":{"hologram":"x"}}]}` + "\n\n"
	failure := `data: {"error":{"code":503}}` + "\n\n"
	of := func(status int, contentType string, pieces ...string) func(*desk, *Exchange) {
		return func(d *desk, x *Exchange) { d.answer(x, status, contentType, pieces...) }
	}
	own := func(who origin.Origin, status int) func(*desk, *Exchange) {
		return func(d *desk, x *Exchange) { x.Origin = who; d.answer(x, status, "text/plain", "no") }
	}
	after := func(seconds int64, then func(*desk, *Exchange)) func(*desk, *Exchange) {
		return func(d *desk, x *Exchange) { then(d, x); d.now += clock.Moment(seconds * second) }
	}
	nothing := func(*desk, *Exchange) {}
	for _, test := range []struct {
		name, asked string
		end         func(*desk, *Exchange)
		complete    bool
		want        string // prompt, completion, total, source; "": nothing is charged or published
	}{
		{"a report", document, of(200, typeOfJSON, report), complete, "26 76 102 reported"},
		{"a report in a stream", stream, of(200, typeOfEvents, textEvent, usageEvent, doneEvent), complete, "26 76 102 reported"},
		{"a report, and left behind it", stream, of(200, typeOfEvents, textEvent, usageEvent), left, "26 76 102 reported"},
		{"a stream without a report", stream, of(200, typeOfEvents, textEvent, textEvent, doneEvent), complete, "23 2 25 counted"},
		{"a stream without any output", stream, of(200, typeOfEvents, roleEvent, doneEvent), complete, "23 100 123 estimated"},
		{"a stream of unknown output", stream, of(200, typeOfEvents, hologram, hologram, doneEvent), complete, "23 100 123 estimated"},
		{"a document without a report", document, of(200, typeOfJSON, `{"choices":[]}`), complete, "20 100 120 estimated"},
		{"an empty report", document, of(200, typeOfJSON, `{"usage":{}}`), complete, "20 100 120 estimated"},
		{"no JSON", document, of(200, typeOfJSON, "<html>"), complete, "20 100 120 estimated"},
		{"no body", document, of(200, typeOfJSON), complete, "20 100 120 estimated"},

		{"400", document, of(400, typeOfJSON, `{"error":{}}`), complete, "0 0 0 counted"},
		{"400 with a report", document, of(400, typeOfJSON, report), complete, "26 76 102 reported"},
		{"429", document, of(429, typeOfJSON, `{"error":{}}`), complete, ""},
		{"429 with a report", document, of(429, typeOfJSON, report), complete, ""},
		{"500", document, of(500, typeOfJSON, `{"error":{}}`), complete, ""},
		{"529", document, of(529, typeOfJSON, `{"error":{}}`), complete, ""},
		{"500 to a stream", stream, of(500, typeOfJSON, `{"error":{}}`), complete, ""},
		{"400, and left", stream, after(5, of(400, typeOfJSON, `{"err`)), left, "0 0 0 counted"},
		{"reset before the answer", document, own(origin.Broken, 503), complete, ""},
		{"no upstream", document, own(origin.Unreachable, 503), complete, ""},
		{"another filter's 429", document, own(origin.Elsewhere, 429), complete, ""},
		{"another filter's 200", document, own(origin.Elsewhere, 200), complete, ""},

		{"an error in place of a stream's output", stream, of(200, typeOfEvents, roleEvent, failure), complete, ""},
		{"an error in place of a stream's output, and left", stream, of(200, typeOfEvents, failure), left, ""},
		{"an error of the client's in place of a stream's output", stream,
			of(200, typeOfEvents, `data: {"error":{"type":"BadRequestError","code":400}}`+"\n\n"), complete, "0 0 0 counted"},
		{"an error behind output", stream, of(200, typeOfEvents, textEvent, failure), complete, "23 1 24 counted"},
		{"an error behind unknown output", stream, of(200, typeOfEvents, hologram, failure), complete, "23 100 123 estimated"},
		{"an error behind a report", stream, of(200, typeOfEvents, usageEvent, failure), complete, ""},
		{"an error in a document", document, of(200, typeOfJSON, `{"error":{"code":503}}`), complete, ""},
		{"an error beside a document's report", document,
			of(200, typeOfJSON, `{"error":{"code":503},"usage":{"prompt_tokens":1,"completion_tokens":2}}`), complete, "1 2 3 reported"},

		{"a timeout", document, after(15, own(origin.TimedOut, 504)), complete, "20 100 120 estimated"},
		{"a timeout of a stream", stream, after(1, own(origin.TimedOut, 504)), complete, "23 50 73 estimated"},
		{"a timeout of a stream after long", stream, after(15, own(origin.TimedOut, 504)), complete, "23 100 123 estimated"},

		{"left before the answer", document, after(1, nothing), left, "20 100 120 estimated"},
		{"left before a stream, at once", stream, nothing, left, "23 0 23 counted"},
		{"left before a stream", stream, after(1, nothing), left, "23 50 73 estimated"},
		{"left before a stream, after long", stream, after(15, nothing), left, "23 100 123 estimated"},
		{"left before a stream's output", stream, after(1, of(200, typeOfEvents, roleEvent)), left, "23 50 73 estimated"},
		{"left before the output of a stream that wasn't asked for", document, after(1, of(200, typeOfEvents, roleEvent)), left, "20 50 70 estimated"},
		{"left after some output", stream, after(9, of(200, typeOfEvents, textEvent, textEvent)), left, "23 2 25 counted"},
		{"left after unknown output", stream, after(9, of(200, typeOfEvents, hologram, hologram)), left, "23 2 25 counted"},
		{"left in a document", document, of(200, typeOfJSON, `{"choices":[{"message":{"content":"hel`), left, "20 100 120 estimated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			x := d.request(chat, test.asked)
			test.end(d, x)
			s := d.Settle(x, d.now, test.complete)
			expect(t, "figures", s.figures(), test.want)
			expect(t, "spared", s.Spared, x.Origin.Spares())
			expect(t, "complete", s.Complete, test.complete)
		})
	}
}

// What has no dialect isn't counted, whatever it says.
func TestWhatIsNotReadCostsNoTokens(t *testing.T) {
	d := newDesk(t)
	x := &Exchange{}
	d.answer(x, 200, typeOfJSON)
	s := d.Settle(x, d.now, true)
	expect(t, "figures", s.figures(), "")
	expect(t, "estimate", d.Expect(x, d.now), Estimate{})
}

// An error inside an answer is what gates and refunds go by.
func TestTheStatusThatAnAnswerComesTo(t *testing.T) {
	for _, test := range []struct {
		name, answer    string
		status, failure int
	}{
		{"an error in place of output", `data: {"error":{"code":503}}` + "\n\n", 503, 503},
		{"the client's own", `data: {"error":{"code":400}}` + "\n\n", 400, 400},
		{"an error behind output", textEvent + `data: {"error":{"code":429}}` + "\n\n", 200, 429},
		{"none", textEvent + doneEvent, 200, 0},
	} {
		d := newDesk(t)
		x := d.request(chat, stream)
		d.answer(x, 200, typeOfEvents, test.answer)
		s := d.Settle(x, d.now, true)
		expect(t, test.name+": status", s.Status, test.status)
		expect(t, test.name+": failure", s.Failure, test.failure)
		expect(t, test.name+": of the answer itself", x.Status, 200)
	}
}

func TestReportsThatLackSomething(t *testing.T) {
	long := `{"model":"mock","messages":[{"role":"user","content":"` + strings.Repeat("words ", 100) + `"}]}`
	for _, test := range []struct{ name, answer, want string }{
		{"xAI's reasoning", `{"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":334,"completion_tokens_details":{"reasoning_tokens":320}}}`, "12 322 334 reported"},
		{"Mistral's audio", `{"usage":{"prompt_tokens":11,"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{"audio_tokens":375}}}`, "386 15 401 reported"},
		{"the total alone", `{"usage":{"total_tokens":10}}`, "10 0 10 reported"},
		{"a total of more than the prompt", `{"usage":{"total_tokens":1000}}`, "165 835 1000 reported"},
		{"a total and a completion", `{"usage":{"total_tokens":10,"completion_tokens":4}}`, "6 4 10 reported"},
		{"a total that is less", `{"usage":{"total_tokens":10,"completion_tokens":4,"prompt_tokens":8}}`, "8 4 12 reported"},
		{"events of that", "data: {\"usage\":{\"total_tokens\":10}}\n\n", "10 0 10 reported"},
		{"events of output and of that", textEvent + textEvent + "data: {\"choices\":[],\"usage\":{\"total_tokens\":10}}\n\n", "8 2 10 reported"},
		{"output of more than the total", textEvent + textEvent + textEvent + "data: {\"usage\":{\"total_tokens\":2}}\n\n", "0 2 2 reported"},
		{"a completion of more than the total", `{"usage":{"total_tokens":3,"completion_tokens":4}}`, "0 4 4 reported"},
		{"a prompt of more than the total", `{"usage":{"total_tokens":3,"prompt_tokens":4}}`, "4 0 4 reported"},
		{"a prompt alone", `{"usage":{"prompt_tokens":12}}`, "12 1000 1012 reported"},
		{"a prompt alone, in events", textEvent + textEvent + "data: {\"usage\":{\"prompt_tokens\":12}}\n\n", "12 2 14 reported"},
		{"a completion alone", `{"usage":{"completion_tokens":12}}`, "165 12 177 reported"},
		{"nothing", `{"usage":{"total_tokens":0}}`, "0 0 0 reported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			x := d.request(chat, long)
			d.answer(x, 200, typeOfJSON, test.answer)
			s := d.Settle(x, d.now, true)
			expect(t, "figures", s.figures(), test.want)
		})
	}
}

// Parts of the prompt and of the completion are told, and never less than nothing.
func TestPartsOfAReport(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, stream)
	d.answer(x, 200, typeOfEvents, `data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":8,`+
		`"prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":4,"audio_tokens":2},`+
		`"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":3}}}`+"\n\n")
	s := d.Settle(x, d.now, true)
	expect(t, "parts", s.Used, usage.Tokens{Prompt: 9, Completion: 8, Total: 17, Cached: 3, Reasoning: 1, CacheWrite: 4, Audio: 5, AudioOutput: 3})
	x = d.request(chat, document)
	d.answer(x, 200, typeOfJSON, report)
	s = d.Settle(x, d.now, true)
	expect(t, "none of them", s.Used, usage.Tokens{Prompt: 26, Completion: 76, Total: 102})
	expect(t, "model", s.Model, "mock-1")
}

// Whatever its content type says, and whether or not it was asked for: a stream is read as one, and a document too.
func TestAnswersAreWhatTheyAre(t *testing.T) {
	lines := strings.ReplaceAll(strings.ReplaceAll(textEvent+textEvent+usageEvent, "data: ", ""), "\n\n", "\n")
	for _, contentType := range []string{typeOfEvents, typeOfJSON} {
		for _, asked := range []string{document, stream} {
			for body, want := range map[string]bool{textEvent + textEvent + usageEvent + doneEvent: true, lines: true, report: false} {
				d := newDesk(t)
				x := d.request(chat, asked)
				passed := d.answer(x, 200, contentType, strings.SplitAfter(body, "}")...)
				expect(t, contentType+" "+body+": two passed while it ran", strings.Contains(passed, "2 "), want)
				s := d.Settle(x, d.now, true)
				expect(t, contentType+" "+body, s.figures(), "26 76 102 reported")
			}
		}
	}
}

// A client that leaves is charged for what passed of a stream, and the estimate for what was none.
func TestLeavingGoesByTheFormToo(t *testing.T) {
	for _, test := range []struct {
		name, body, contentType, answer string
		complete                        bool
		want                            string
		unread                          bool
	}{
		{"a stream that is said to be JSON", document, typeOfJSON, textEvent + textEvent, false, "20 2 22 counted", false},
		{"a document that is said to be a stream", stream, typeOfEvents, `{"model":"mock-1","choices":[{"message":{"content":"hel`, false, "23 100 123 estimated", false},
		{"gzip that is not said", stream, typeOfEvents, "\x1f\x8b" + strings.Repeat("zip", 2000), false, "23 100 123 estimated", false},
		{"gzip as a document", document, typeOfJSON, "\x1f\x8b\x08", false, "20 100 120 estimated", false},
		{"gzip to its end", document, typeOfJSON, "\x1f\x8b\x08", true, "20 100 120 estimated", true},
		{"gzip that is not said, to its end", stream, typeOfEvents, "\x1f\x8b" + strings.Repeat("zip", 2000), true, "23 100 123 estimated", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			x := d.request(chat, test.body)
			d.answer(x, 200, test.contentType, test.answer)
			s := d.Settle(x, d.now, test.complete)
			expect(t, "figures", s.figures(), test.want)
			expect(t, "unread", s.Unread, test.unread)
		})
	}
	d := newDesk(t)
	x := d.request(chat, stream)
	x.Status = 200
	x.Begin(false, true) // compressed, as its headers say
	s := d.Settle(x, d.now, true)
	expect(t, "figures of a body that isn't read", s.figures(), "23 100 123 estimated")
	expect(t, "it is nobody's fault", s.Unread, false)
}

// How fast an answer came is told of what came.
func TestHowFastAnAnswerCame(t *testing.T) {
	const none = time.Duration(usage.Absent)
	for _, test := range []struct {
		name      string
		asked     string
		status    int
		pieces    []string // a tenth of a second after another
		ttft, itl time.Duration
	}{
		{"a stream", stream, 200, []string{roleEvent, textEvent, textEvent, textEvent + textEvent, usageEvent}, 200 * time.Millisecond, 200 * time.Millisecond / 3},
		{"a single piece", stream, 200, []string{textEvent, doneEvent}, 100 * time.Millisecond, none},
		{"no output", stream, 200, []string{roleEvent, doneEvent}, none, none},
		{"a document", document, 200, []string{report[:20], report[20:]}, 200 * time.Millisecond, none},
		{"an error", document, 400, []string{`{}`}, none, none},
		{"a fault", document, 500, []string{`{}`}, none, none},
		{"an error in a document", document, 200, []string{`{"error":{"code":400}}`}, none, none},
	} {
		d := newDesk(t)
		x := d.request(chat, test.asked)
		x.Status = test.status
		x.Begin(true, test.asked == stream)
		for _, piece := range test.pieces {
			d.now += clock.Moment(second / 10)
			d.pass(x, piece)
		}
		s := d.Settle(x, d.now, true)
		expect(t, test.name+": TTFT", s.TTFT, test.ttft)
		expect(t, test.name+": ITL", s.ITL, test.itl)
	}
	for _, asked := range []string{document, stream} {
		d := newDesk(t)
		x := d.request(chat, asked)
		d.now += clock.Moment(second)
		s := d.Settle(x, d.now, false)
		expect(t, "of what nobody answered", max(s.TTFT, s.ITL), none)
	}
}

// An exchange is used again, and to account for one allocates nothing.
func TestAccountingAllocatesNothing(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, stream)
	asked, dialect := x.Asked, x.Dialect
	var events [][]byte
	for _, event := range []string{roleEvent, textEvent, usageEvent, doneEvent} {
		events = append(events, []byte(strings.Replace(event, `"model":"mock-1",`, "", 1))) // the name of a model is a string of its own
	}
	var s Settlement
	got := testing.AllocsPerRun(100, func() {
		x.Reset()
		x.Dialect, x.Asked, x.Length, x.Since, x.Sent = dialect, asked, -1, d.now, d.now
		x.Identify(asked.Model, [3]string{"", "alice", ""})
		d.Expect(x, d.now)
		d.Decided(x)
		x.Status = 200
		x.Begin(true, true)
		for _, event := range events {
			x.Reader.Write(event)
			x.Progress(d.now)
			d.Passed(x, d.now)
		}
		s = d.Settle(x, d.now, true)
	})
	expect(t, "figures", s.figures(), "26 76 102 reported")
	expect(t, "allocations", got, 0)
}
