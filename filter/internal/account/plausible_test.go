package account

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
	"github.com/spillway-proxy/spillway/internal/captures"
)

// An upstream's figures are believed within what is plausible.
func TestImplausibleReportsAreCut(t *testing.T) {
	const most = "1000000000000000"
	const prompt = hiddenPrompt + promptRate + int64(len(document))
	for _, test := range []struct {
		name, answer       string
		prompt, completion int64 // -1: the most that is plausible
		implausible        bool
	}{
		{"a prompt", `{"usage":{"prompt_tokens":` + most + `,"completion_tokens":5}}`, prompt, 5, true},
		{"a completion", `{"usage":{"prompt_tokens":5,"completion_tokens":` + most + `}}`, 5, -1, true},
		{"a total", `{"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":` + most + `}}`, 5, -1, true},
		{"a text", `{"usage":{"prompt_tokens":"` + most + `","completion_tokens":5}}`, prompt, 5, true},
		{"a cache", `{"usage":{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":` + most + `}}}`, 5, 5, true},
		{"reasoning", `{"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10,"completion_tokens_details":{"reasoning_tokens":` + most + `}}}`, 5, 5, true},
		{"more than any number of tokens", `{"usage":{"prompt_tokens":1e30,"completion_tokens":5}}`, ofDocument, 5, true},
		{"less than nothing", `{"usage":{"prompt_tokens":5,"completion_tokens":-5}}`, 5, 100, true},
		{"a fraction", `{"usage":{"prompt_tokens":5,"completion_tokens":0.5}}`, 5, 100, true},
		{"nothing but nonsense", `{"usage":{"prompt_tokens":-1,"completion_tokens":1e99}}`, ofDocument, 100, true},
		{"in events", "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":" + most + "}}\n\n", 5, -1, true},
		{"an honest long context", `{"usage":{"prompt_tokens":2000000,"completion_tokens":128000}}`, 2000000, 128000, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			completion := test.completion
			if completion < 0 {
				completion = hiddenOutput + outputRate + 100 + int64(len(test.answer))
			}
			for range 3 { // and nothing is learned from it
				x := d.request(chat, document)
				d.answer(x, 200, typeOfJSON, test.answer)
				s := d.Settle(x, d.now, true)
				expect(t, "prompt", s.Used.Prompt, test.prompt)
				expect(t, "completion", s.Used.Completion, completion)
				expect(t, "total", s.Used.Total, test.prompt+completion)
				expect(t, "implausible", s.Implausible, test.implausible)
				for name, n := range map[string]int64{"cached": s.Used.Cached, "reasoning": s.Used.Reasoning} {
					if n < 0 || n > 10_000_000 {
						t.Errorf("%s: %d", name, n)
					}
				}
			}
		})
	}
}

// An error's figures are doubted like any others, though it costs nothing.
func TestAnAbsurdFigureOfAnErrorIsTold(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, document)
	d.answer(x, 400, typeOfJSON, `{"usage":{"completion_tokens":-5}}`)
	s := d.Settle(x, d.now, true)
	expect(t, "figures", s.figures(), "0 0 0 counted")
	expect(t, "implausible", s.Implausible, true)
}

// A lie in the middle of a stream is not told either.
func TestImplausibleReportsAreCutWhileAStreamRuns(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, stream)
	d.answer(x, 200, typeOfEvents, `data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":1000000000000000}}`+"\n\n")
	if x.told > 1_000_000 {
		t.Errorf("%d tokens are said to have passed", x.told)
	}
	if s := d.Settle(x, d.now, false); s.Used.Completion > 1_000_000 || !s.Implausible {
		t.Errorf("%d tokens are charged", s.Used.Completion)
	}
}

// What takes time may be more: a server can go through many rounds by itself.
func TestLongWorkMayReportMore(t *testing.T) {
	d := newDesk(t)
	x := d.request(chat, document)
	d.now += clock.Moment(600 * second)
	d.answer(x, 200, typeOfJSON, `{"usage":{"prompt_tokens":40000000,"completion_tokens":3000000}}`)
	s := d.Settle(x, d.now, true)
	expect(t, "figures", s.figures(), "40000000 3000000 43000000 reported")
	expect(t, "implausible", s.Implausible, false)
}

// No recorded report comes near to what is cut, be it sent at once and four times over.
func TestNoRecordedReportIsCut(t *testing.T) {
	operations := usage.NewOperations(nil)
	seen := 0
	for _, c := range captures.Load(t) {
		dialect, _ := operations.Find(c.Path)
		if dialect == nil || c.Status != 200 {
			continue
		}
		var x Exchange
		x.Asked.Bytes = int64(len(c.RequestBody))
		x.Reader.Reset(dialect, c.Stream)
		x.Reader.Write([]byte(c.ResponseBody))
		x.Reader.Close()
		r := x.Reader.Response()
		if r.Absurd {
			t.Errorf("%s is taken for absurd", c.ID)
		}
		if !r.Reported {
			continue
		}
		seen++
		for _, times := range []int64{1, 4} {
			tokens := r.Tokens
			for _, n := range []*int64{&tokens.Prompt, &tokens.Completion, &tokens.Cached, &tokens.Reasoning, &tokens.Audio, &tokens.CacheWrite} {
				*n *= times
			}
			if was := fmt.Sprint(tokens); cut(&tokens, x.plausible(0)) {
				t.Errorf("%s, %d times over: %s became %v", c.ID, times, was, tokens)
			}
		}
	}
	if seen < 40 { // as many are in the sample that a checkout has by itself
		t.Errorf("only %d reports", seen)
	}
}
