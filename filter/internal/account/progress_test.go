package account

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// A stream is counted while it passes, until a report says better.
func TestWhatPassesIsTold(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, stream)
	expect(t, "told", d.answer(x, 200, typeOfEvents, roleEvent, textEvent, textEvent[:20], textEvent[20:], textEvent, usageEvent, doneEvent), "1 2 3 76 ")
	tokens, news := d.Passed(x, d.now)
	expect(t, "told again", fmt.Sprint(tokens, news), "76 false")
	x = d.request(chat, stream)
	d.answer(x, 200, typeOfEvents, roleEvent)
	for i, piece := range []string{textEvent[:20], textEvent[20:], textEvent} {
		x.Reader.Write([]byte(piece))
		output, first := x.Progress(d.now)
		expect(t, fmt.Sprint("output, and the first, of piece ", i), fmt.Sprint(output, first), []string{"false false", "true true", "true false"}[i])
	}
	x = d.request(chat, document)
	expect(t, "told of a document", d.answer(x, 200, typeOfJSON, report), "")
}

// A stream whose output stands in no known place is charged by its events, while it runs and when it is left.
func TestOutputOfUnknownFormIsCharged(t *testing.T) {
	hologram := `data: {"choices":[{"delta":{"hologram":"x"}}]}` + "\n\n"
	large := `data: {"choices":[{"delta":{"hologram":"` + strings.Repeat("x", 10000) + `"}}]}` + "\n\n"
	for _, test := range []struct {
		name, answer string
		end          bool
		passed       int64
		want         string
	}{
		{"left", roleEvent + strings.Repeat(hologram, 50), false, 50, "23 50 73 counted"},
		{"left behind more than is expected", roleEvent + strings.Repeat(hologram, 500), false, 500, "23 500 523 counted"},
		{"large pieces count up to what is expected", roleEvent + large, false, 100, "23 100 123 counted"},
		{"ended", roleEvent + strings.Repeat(hologram, 50) + doneEvent, true, 50, "23 100 123 estimated"},
		{"ended behind more than is expected", roleEvent + strings.Repeat(hologram, 500) + doneEvent, true, 500, "23 500 523 estimated"},
		{"behind a known beginning", roleEvent + textEvent + strings.Repeat(hologram, 50), false, 50, "23 50 73 counted"},
		{"the role alone", roleEvent, false, 0, "23 0 23 counted"},
		{"a function's arguments", strings.Repeat(`data: {"choices":[{"delta":{"function_call":{"arguments":"{"}}}]}`+"\n\n", 50), false, 50, "23 50 73 counted"},
		{"parts", strings.Repeat(`data: {"choices":[{"delta":{"content":[{"type":"text","text":"Hi"}]}}]}`+"\n\n", 50), false, 50, "23 50 73 counted"},
		{"long pieces are more than a token each", strings.Repeat(`data: {"choices":[{"delta":{"content":"`+strings.Repeat("word ", 80)+`"}}]}`+"\n\n", 10), false, 500, "23 500 523 counted"},
		{"broken off by an error", roleEvent + strings.Repeat(hologram, 50) + `data: {"error":{"code":503}}` + "\n\n", true, 50, "23 100 123 estimated"},
		{"an error in place of all output", roleEvent + `data: {"error":{"code":503}}` + "\n\n", true, 0, ""},
		{"a report is believed", roleEvent + strings.Repeat(hologram, 50) + usageEvent, true, 76, "26 76 102 reported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			x := d.request(chat, stream)
			d.answer(x, 200, typeOfEvents, test.answer)
			expect(t, "while it runs", x.told, test.passed)
			s := d.Settle(x, d.now, test.end)
			expect(t, "figures", s.figures(), test.want)
		})
	}
}

// A piece without a text is a token at least, also where it is known what texts take.
func TestPiecesWithoutTextAreCharged(t *testing.T) {
	const (
		path  = "/v1beta/models/mock:streamGenerateContent?alt=sse"
		call  = `data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}` + "\n\n"
		text  = `data: {"candidates":[{"content":{"parts":[{"text":"Hello"}]}}]}` + "\n\n"
		close = `data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":10,"totalTokenCount":30}}` + "\n\n"
	)
	d := newDesk(t)
	for range 2 { // before and after a whole stream
		x := d.request(path, `{"contents":[]}`)
		d.answer(x, 200, typeOfEvents, strings.Repeat(call, 9))
		expect(t, "completion", x.told, 9)
		d.Settle(x, d.now, false)
		x = d.request(path, `{"contents":[]}`)
		d.answer(x, 200, typeOfEvents, strings.Repeat(text, 10), close)
		d.Settle(x, d.now, true)
	}
}

// Where a server's counts are spread over its events, a stream that breaks off is charged what passed, and teaches nothing.
func TestAStreamWithoutItsEndTeachesNothing(t *testing.T) {
	d := newDesk(t)
	x := d.request("/v1/messages", `{"model":"claude","max_tokens":100,"stream":true}`)
	d.answer(x, 200, typeOfEvents, `data: {"type":"message_start","message":{"model":"claude","usage":{"input_tokens":9,"output_tokens":1}}}`+"\n\n",
		strings.Repeat(`data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"abcdefgh"}}`+"\n\n", 10))
	s := d.Settle(x, d.now, true)
	expect(t, "figures", s.figures(), "9 20 29 counted")
	_, known := d.learned.Text(d.now, x.learner.model, x.learner.subject, 100)
	expect(t, "learned", known, false)
}

// A prompt that was reported is charged where nothing else came.
func TestAReportedPromptIsChargedWhereNothingElseCame(t *testing.T) {
	d := newDesk(t)
	x := d.request("/v1/messages", `{"model":"claude","max_tokens":100,"stream":true}`)
	d.answer(x, 200, typeOfEvents, `data: {"type":"message_start","message":{"model":"claude","usage":{"input_tokens":900,"output_tokens":0}}}`+"\n\n")
	d.now += clock.Moment(second)
	s := d.Settle(x, d.now, false)
	expect(t, "figures of one that was left", s.figures(), "900 50 950 estimated")
	x = d.request("/v1/messages", `{"model":"claude","max_tokens":100,"stream":true}`)
	d.answer(x, 200, typeOfEvents, `data: {"type":"message_start","message":{"model":"claude","usage":{"input_tokens":900,"output_tokens":0}}}`+"\n\n")
	d.now += clock.Moment(second)
	s = d.Settle(x, d.now, true)
	expect(t, "figures of one that ended", s.figures(), "900 0 900 counted")
}
