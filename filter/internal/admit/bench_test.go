package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/estimate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// BenchmarkRequest leads one request through the engine, the host's part left out.
func BenchmarkRequest(b *testing.B) {
	const limits = `{"requestHold":"stopIteration","limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":1000000000,"window":"1h"}]}`
	body := []byte(`{"model":"mock","max_tokens":100,"messages":[{"role":"user","content":"` + strings.Repeat("lorem ipsum ", 40) + `"}]}`)
	json := []byte(`{"id":"x","object":"chat.completion","model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat("token ", 76) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}}`)
	event := []byte(`data: {"id":"x","object":"chat.completion.chunk","model":"mock","choices":[{"index":0,"delta":{"content":"token"},"finish_reason":null}]}` + "\n\n")
	request := [][2]string{
		{":authority", "example.com"}, {":path", "/v1/chat/completions"}, {":method", "POST"}, {":scheme", "http"},
		{"user-agent", "bench"}, {"content-type", "application/json"}, {"x-user-id", "one"}, {"x-request-id", "1234"},
	}
	response := [][2]string{{":status", "200"}, {"content-type", "application/json"}, {"server", "x"}, {"date", "today"}}
	stream := [][2]string{{":status", "200"}, {"content-type", "text/event-stream"}, {"server", "x"}, {"date", "today"}}

	for name, configuration := range map[string]string{"no limits": `{}`, "one limit": limits} {
		for _, sse := range []bool{false, true} {
			kind := "JSON"
			if sse {
				kind = "SSE of 50 events"
			}
			b.Run(name+", "+kind, func(b *testing.B) {
				cfg, err := config.Parse([]byte(configuration))
				if err != nil {
					b.Fatal(err)
				}
				p := &proxy{Store: recordtest.NewMemory()}
				e, err := New(cfg, p, new(estimate.Learned), make([]byte, 16))
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				s := new(Stream)
				for now := int64(1); b.Loop(); now += 1e6 {
					s.Reset(1)
					p.headers = request
					e.RequestHeaders(s, now, false)
					p.piece = body
					e.RequestBody(s, now, len(body), true)
					if sse {
						p.headers = stream
						e.ResponseHeaders(s, now, false)
						for range 50 {
							p.piece = event
							e.ResponseBody(s, now, len(event), false)
						}
						e.ResponseBody(s, now, 0, true)
					} else {
						p.headers = response
						e.ResponseHeaders(s, now, false)
						p.piece = json
						e.ResponseBody(s, now, len(json), true)
					}
					e.Done(s, now)
					for e.Next() != nil { // what is to be done is the host's part
					}
				}
			})
		}
	}
}
