package account

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// What a request's body says of its output goes into what is expected of it.
func TestWhatIsExpected(t *testing.T) {
	for _, test := range []struct {
		name, path, body string
		want             Estimate
	}{
		{"a bound", chat, document, Estimate{Prompt: ofDocument, Output: 100, OutputMost: 100, OutputBound: 100}},
		{"no bound", chat, `{"model":"mock"}`, Estimate{Prompt: 4, Output: 1000, OutputMost: 16000}},
		{"a floor", chat, `{"model":"mock","max_tokens":2000,"min_tokens":1500}`,
			Estimate{Prompt: 13, Output: 1500, OutputMost: 2000, OutputBound: 2000, OutputFloor: 1500}},
		{"a floor above all that is expected", chat, `{"model":"mock","min_tokens":50000}`,
			Estimate{Prompt: 9, Output: 50000, OutputMost: 50000, OutputFloor: 50000}},
		{"a picture", chat, `{"model":"mock","max_tokens":100,"messages":[{"content":[{"image_url":{"url":"https://x"}}]}]}`,
			Estimate{Prompt: 1024, Output: 100, OutputMost: 100, OutputBound: 100}},
		{"no output", "/v1/embeddings", `{"model":"mock","input":"hi"}`, Estimate{Prompt: 8}},
	} {
		d := newDesk(t)
		x := d.request(test.path, test.body)
		expect(t, test.name, d.Expect(x, d.now), test.want)
	}
}

// A bound that not every server heeds says what is wanted.
func TestALooseBoundIsAFloor(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, document)
	x.Asked.OutputLoose, x.Asked.OutputBound = true, 1500
	e := d.Expect(x, d.now)
	expect(t, "bound", e.OutputBound, 0)
	expect(t, "floor", e.OutputFloor, 1500)
}

// Before its body has come a request is as long as was announced.
func TestAnAnnouncedLengthIsExpected(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, "")
	x.Length = 4000
	expect(t, "prompt", d.Expect(x, d.now).Prompt, 1000)
}

// told lets a request be answered by a document.
func (d *desk) told(x *Exchange, answer string) Settlement {
	d.answer(x, 200, typeOfJSON, answer)
	return d.Settle(x, d.now, true)
}

const unbounded = `{"model":"mock","messages":[{"role":"user","content":"hi"}]}` // of 60 bytes

// Who reports teaches what to expect: of the prompt, and of the output where it came to its end.
func TestWhatAReportTeaches(t *testing.T) {
	const (
		none      = "15 1000"
		prompt    = "30 1000"
		all       = "30 1500"
		reporting = `{"usage":{"prompt_tokens":30,"completion_tokens":1500}}`
		events    = `data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":1500}}` + "\n\n"
		failure   = `data: {"error":{"code":503}}` + "\n\n"
	)
	for _, test := range []struct {
		name, body string
		answer     string
		complete   bool
		want       string
	}{
		{"a report", unbounded, reporting, true, all},
		{"a stream's", unbounded, textEvent + events + doneEvent, true, all},
		{"a report, and left behind it", unbounded, textEvent + events, false, prompt},
		{"a report, and an error behind it", unbounded, textEvent + events + failure, true, prompt},
		{"no report", unbounded, `{}`, true, none},
		{"figures that can't be true", unbounded, `{"usage":{"prompt_tokens":30,"completion_tokens":1000000000000}}`, true, none},
		{"a figure that is no number of tokens", unbounded, `{"usage":{"prompt_tokens":30,"completion_tokens":1500,"prompt_tokens_details":{"cached_tokens":-1}}}`, true, none},
		{"a prompt that is elsewhere", `{"model":"mock","messages":[{"content":[{"image_url":{"url":"https://x"}}]}]}`, reporting, true, "15 1500"},
	} {
		d := newDesk(t)
		x := d.request(chat, test.body)
		d.answer(x, 200, typeOfJSON, test.answer)
		d.Settle(x, d.now, test.complete)
		e := d.Expect(d.request(chat, unbounded), d.now)
		s := Settlement{Used: usage.Tokens{Prompt: e.Prompt, Completion: e.Output}}
		expect(t, test.name, strings.TrimSuffix(s.figures(), " 0 "), test.want)
	}
}

// What one has taught isn't told of others, nor of other models; a request that is identified anew is another one.
func TestWhoIsTaught(t *testing.T) {
	d := newDesk(t)
	d.told(d.request(chat, unbounded), `{"usage":{"prompt_tokens":30,"completion_tokens":1500}}`)
	x := d.request(chat, unbounded)
	expect(t, "the same", d.Expect(x, d.now).Output, 1500)
	for name, who := range map[string][3]string{"another user": {"", "bob", ""}, "another tenant": {"t", "alice", ""}, "another key": {"", "alice", "k"},
		"a user in a tenant's place": {"alice", "", ""}} {
		x.Identify("mock", who)
		expect(t, name, d.Expect(x, d.now).Output, 1000)
	}
	x.Identify("other", [3]string{"", "alice", ""})
	expect(t, "another model", d.Expect(x, d.now).Output, 1000)
	x.Identify("mock", [3]string{"", "alice", ""})
	expect(t, "the same again", d.Expect(x, d.now).Output, 1500)
}

// A request that was decided before its model was known teaches what to expect there, too.
func TestWhatADecisionAtTheHeadersIsTaught(t *testing.T) {
	d := newDesk(t)
	who := [3]string{"", "alice", ""}
	x := d.request(chat, unbounded)
	x.Identify("", who)
	d.Expect(x, d.now)
	d.Decided(x)
	x.Identify("mock", who)
	d.told(x, `{"usage":{"prompt_tokens":30,"completion_tokens":1500}}`)
	expect(t, "of the model", d.Expect(x, d.now).Output, 1500)
	x.Identify("", who)
	expect(t, "of a request at its headers", d.Expect(x, d.now).Output, 1500)
	x.Identify("other", who)
	expect(t, "of another model", d.Expect(x, d.now).Output, 1000)
}

// What a stream's text took of tokens is what the next one is counted by, unless there was reasoning that may have passed unseen.
func TestTextIsCountedByWhatWasLearned(t *testing.T) {
	text := `data: {"choices":[{"delta":{"content":"four"}}]}` + "\n\n"
	for reasoning, want := range map[string]int64{`0`: 60, `1`: 20} {
		d := newDesk(t)
		x := d.request(chat, `{"model":"mock","stream":true}`)
		d.answer(x, 200, typeOfEvents, strings.Repeat(text, 20),
			`data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":60,"completion_tokens_details":{"reasoning_tokens":`+reasoning+`}}}`+"\n\n", doneEvent)
		d.Settle(x, d.now, true)
		x = d.request(chat, `{"model":"mock","stream":true}`)
		d.answer(x, 200, typeOfEvents, strings.Repeat(text, 20))
		s := d.Settle(x, d.now, false)
		expect(t, "with reasoning of "+reasoning, s.Used.Completion, want)
	}
}

// What uses an exchange's memory next finds nothing of the one before.
func TestAnExchangeLeavesNothing(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, stream)
	d.answer(x, 200, typeOfEvents, textEvent, usageEvent)
	d.Settle(x, d.now, true)
	x.Reset()
	expect(t, "facts", x.Facts == (Facts{}), true)
}
