package account

import (
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/estimate"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

const (
	second = int64(time.Second)
	begun  = 1000 * second // when requests come, in tests
)

const (
	chat       = "/v1/chat/completions"
	document   = `{"model":"mock","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`
	stream     = `{"model":"mock","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`
	ofDocument = 20 // tokens that are expected of the prompt of document
	ofStream   = 23 // and of stream

	roleEvent  = `data: {"choices":[{"delta":{"role":"assistant","content":""}}]}` + "\n\n"
	textEvent  = `data: {"model":"mock-1","choices":[{"delta":{"content":"hi"}}]}` + "\n\n"
	usageEvent = `data: {"model":"mock-1","choices":[],"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}}` + "\n\n"
	doneEvent  = "data: [DONE]\n\n"
	report     = `{"model":"mock-1","choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}}`

	typeOfEvents = "text/event-stream"
	typeOfJSON   = "application/json"
)

// desk is an accountant at work.
type desk struct {
	*testing.T
	*Accountant
	now clock.Moment
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	seed := maphash.MakeSeed()
	hash := func(b []byte) uint64 { return maphash.Bytes(seed, b) }
	return &desk{T: t, Accountant: New(new(estimate.Learned), estimate.Start{PromptTokensPerByte: 0.25, OutputTokens: 1000}, hash), now: clock.Moment(begun)}
}

// request is a request of alice's whose body has passed, and which has been sent.
func (d *desk) request(path, body string) *Exchange {
	d.Helper()
	var reader usage.RequestReader
	x := &Exchange{}
	x.Dialect, _ = usage.NewOperations(nil).Find(path)
	if x.Dialect == nil {
		d.Fatalf("%s has no dialect", path)
	}
	reader.Reset(x.Dialect, usage.FromPath(x.Dialect, path), usage.NewForm("", typeOfJSON), 1<<20)
	reader.Write([]byte(body))
	x.Asked, x.Length, x.Since, x.Sent = reader.Close(), -1, d.now, d.now
	x.Identify(x.Asked.Model, [3]string{"", "alice", ""})
	d.Expect(x, d.now)
	d.Decided(x)
	return x
}

// answer begins an answer, and lets pieces of it pass; it gives what was said to have passed.
func (d *desk) answer(x *Exchange, status int, contentType string, pieces ...string) (passed string) {
	x.Status = status
	x.Begin(true, contentType == typeOfEvents)
	return d.pass(x, pieces...)
}

// pass lets more pieces pass.
func (d *desk) pass(x *Exchange, pieces ...string) (passed string) {
	for _, piece := range pieces {
		x.Reader.Write([]byte(piece))
		x.Progress(d.now)
		if tokens, news := d.Passed(x, d.now); news {
			passed += fmt.Sprint(tokens, " ")
		}
	}
	return passed
}

// figures is what a settlement charges.
func (s *Settlement) figures() string {
	if s.Source == None && s.Used == (usage.Tokens{}) {
		return ""
	}
	return fmt.Sprint(s.Used.Prompt, s.Used.Completion, s.Used.Total, s.Source)
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
