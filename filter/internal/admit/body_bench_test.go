package admit

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// BenchmarkBody leads long bodies through the engine in pieces, as the host would: what a megabyte and an event cost.
func BenchmarkBody(b *testing.B) {
	const event = `data: {"id":"x","object":"chat.completion.chunk","model":"mock","choices":[{"index":0,"delta":{"content":"`
	const eventEnd = `"},"finish_reason":null}]}` + "\n\n"
	events := func(size int) [][]byte {
		one := []byte(event + strings.Repeat("a", size-len(event)-len(eventEnd)) + eventEnd)
		return slices.Repeat([][]byte{one}, 1000)
	}
	text := strings.Repeat("lorem ipsum ", 1<<20/12)
	request := []byte(`{"model":"mock","max_tokens":100,"messages":[{"role":"user","content":"` + text[:1<<20-100] + `"}]}`)
	answer := []byte(`{"model":"mock","choices":[{"message":{"content":"` + text + `"}}],"usage":{"prompt_tokens":26,"completion_tokens":76}}`)
	for _, c := range []struct {
		name, kind      string
		request, answer [][]byte
	}{
		{"request of 1 MiB", "application/json", inPieces(request), nil},
		{"JSON answer of 1 MiB", "application/json", nil, inPieces(answer)},
		{"events of 250 bytes", "text/event-stream", nil, events(250)},
		{"events of 4 KiB", "text/event-stream", nil, events(4096)},
	} {
		b.Run(c.name, func(b *testing.B) {
			cfg, err := config.Parse([]byte(`{"requestHold":"stopIteration","limits":[{"name":"u","per":["user"],` +
				`"unit":"completionTokens","quantity":1000000000,"window":"1h"}]}`))
			if err != nil {
				b.Fatal(err)
			}
			p := &proxy{Store: recordtest.NewMemory()}
			e, err := New(&cfg, p, new(Worker), make([]byte, 16))
			if err != nil {
				b.Fatal(err)
			}
			request := [][2]string{{":path", "/v1/chat/completions"}, {":method", "POST"}, {"x-user-id", "one"}}
			response := [][2]string{{":status", "200"}, {"content-type", c.kind}}
			b.SetBytes(int64(len(bytes.Join(c.request, nil)) + len(bytes.Join(c.answer, nil))))
			b.ReportAllocs()
			s := new(Stream)
			for now := clock.Moment(1); b.Loop(); now += 1e6 {
				s.Reset(1)
				p.headers = request
				e.RequestHeaders(s, now, false)
				for _, piece := range c.request {
					p.piece = piece
					e.RequestBody(s, now, len(piece), false)
				}
				e.RequestBody(s, now, 0, true)
				p.headers = response
				e.ResponseHeaders(s, now, false)
				for _, piece := range c.answer {
					p.piece = piece
					e.ResponseBody(s, now, len(piece), false)
				}
				e.ResponseBody(s, now, 0, true)
				e.Done(s, now)
				for e.Next() != nil { // what is to be done is the host's part
				}
			}
			if c.kind == "text/event-stream" {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(c.answer)), "ns/event")
			}
		})
	}
}

// inPieces cuts a body as a proxy would pass it on.
func inPieces(body []byte) [][]byte { return slices.Collect(slices.Chunk(body, 64<<10)) }
