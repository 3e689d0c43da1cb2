package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// workload is a kind of request, and its answer.
type workload struct {
	name   string // also what tells the upstream which answer to give
	body   []byte
	answer [][]byte // a document, or the events of a stream
	stream bool
	tokens int // completion tokens of the answer
	status int // that the client is to get

	read func(io.Reader) error // reads the answer of a gateway that writes its own; nil where it is to be the upstream's
	pace time.Duration         // between two events; 0: each is sent when the client has the one before
}

func (w workload) answerBytes() int { return len(bytes.Join(w.answer, nil)) }

func (w workload) bytes() int { return len(w.body) + w.answerBytes() }

// The sizes of the main tables.
const (
	requestSize  = 1024 // bytes
	promptTokens = 180  // as a request of that size has
	jsonTokens   = 76
	streamEvents = 50 // of a stream, in all
)

// mainWorkloads are those of the main tables.
func mainWorkloads() (unary, stream workload) {
	return document("JSON", requestSize, 0), events("SSE", streamEvents, 0)
}

// volume is a workload that has much more of something than the JSON workload, its base: the difference is the price of that.
type volume struct {
	workload
	label string // in the tables
	share int    // so many for a hundred JSON requests of a round
}

// The sizes of the volumes. The largest request is the largest that is read with the defaults.
const (
	longBody    = 64 << 10
	longestBody = 1 << 20
	manyEvents  = 100
	smallEvent  = 250
	largeEvent  = 4 << 10
)

// volumes are measured less often than the main workloads, since each takes longer.
func volumes() []volume {
	return []volume{
		{document("request of 64 KiB", longBody, 0), "JSON request, 64 KiB", 60},
		{document("request of 1 MiB", longestBody, 0), "JSON request, 1 MiB", 8},
		{document("answer of 64 KiB", requestSize, longBody), "JSON answer, 64 KiB", 60},
		{document("answer of 1 MiB", requestSize, longestBody), "JSON answer, 1 MiB", 8},
		{events("events of 250 B", manyEvents, smallEvent), fmt.Sprintf("stream of %d events of 250 bytes", manyEvents), 12},
		{events("events of 4 KiB", manyEvents, largeEvent), fmt.Sprintf("stream of %d events of 4 KiB", manyEvents), 12},
	}
}

// beyond is what a volume has more than its base: bytes of both bodies together, and pieces of the answer.
func (v volume) beyond(base workload) (size, pieces float64) {
	return float64(v.bytes() - base.bytes()), float64(len(v.answer) - len(base.answer))
}

// document is a workload whose answer is a JSON document, at least as long as it must be.
func document(name string, request, answer int) workload {
	text := words(jsonTokens)
	if shortest := len(jsonAnswer(text)); answer > shortest {
		text += strings.Repeat(" word", answer)[:answer-shortest]
	}
	return workload{name: name, body: chat("false", request), answer: [][]byte{jsonAnswer(text)}, tokens: jsonTokens, status: http.StatusOK}
}

// events is a workload whose answer is a stream of n events: one for each token, the usage, and the end mark. Those with a
// token have size bytes, or as many as they must.
func events(name string, n, size int) workload {
	w := workload{
		name: name, body: chat(`true,"stream_options":{"include_usage":true}`, requestSize), stream: true, tokens: n - 2,
		status: http.StatusOK,
	}
	for i := range w.tokens {
		text := "token "
		if shortest := len(streamEvent(i, w.tokens, text)); size > shortest {
			text += strings.Repeat("more ", size)[:size-shortest]
		}
		w.answer = append(w.answer, streamEvent(i, w.tokens, text))
	}
	// The usage is asked for by the client, so that all variants carry the same events.
	w.answer = append(w.answer, event(answerHead+"chat.completion.chunk"+answerName+`],`+usage(w.tokens)), event("[DONE]"))
	return w
}

// chat is a request of that many bytes. It states what the Lua script looks for.
func chat(stream string, size int) []byte {
	const text = `{"model":"llama-3","max_tokens":256,"stream":%s,"messages":[` +
		`{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"%s"}]}`
	padding := size - len(fmt.Sprintf(text, stream, ""))
	return fmt.Appendf(nil, text, stream, strings.Repeat("question ", padding)[:padding])
}

const (
	answerHead = `{"id":"chatcmpl-8f14e45fceea167a5a36dedd4bea2543","object":"`
	answerName = `","created":1767225600,"model":"llama-3","choices":[`
)

// words is a text of n tokens.
func words(n int) string {
	return strings.Repeat("token ", n)[:6*n-1]
}

func usage(completion int) string {
	return fmt.Sprintf(`"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`,
		promptTokens, completion, promptTokens+completion)
}

// jsonAnswer is a chat completion, of about 700 bytes with the text of jsonTokens.
func jsonAnswer(text string) []byte {
	return []byte(answerHead + "chat.completion" + answerName + `{"index":0,"message":{"role":"assistant","content":"` +
		text + `"},"finish_reason":"stop"}],` + usage(jsonTokens))
}

// streamEvent is event i of n that have text.
func streamEvent(i, n int, text string) []byte {
	role, finish := "", "null"
	if i == 0 {
		role = `"role":"assistant",`
	}
	if i == n-1 {
		finish = `"stop"`
	}
	return event(answerHead + "chat.completion.chunk" + answerName +
		`{"index":0,"delta":{` + role + `"content":"` + text + `"},"finish_reason":` + finish + `}],"usage":null}`)
}

func event(data string) []byte { return []byte("data: " + data + "\n\n") }

// turn is what a round has of one workload.
type turn struct {
	workload
	variants    []*variant // the first is what the others are compared with
	requests    int        // of each variant
	connections int
	every       int // one round in so many has it
}

// The names of those that a round measures beside the main workloads and the volumes. A request of them is the JSON request: bare
// Envoy passes it on, the others refuse it.
const (
	refusal = "refusal"
	flood   = "flood" // the same, from as many connections as there are
)

// What -workloads can name besides.
const (
	latencies = "latency"
	guest     = "guest" // the filter without Envoy
)

// volumeRounds is how often the volumes are measured: in one round of so many, since they take long.
const volumeRounds = 5

// chooseTurns finds what a round measures: the workloads of a comma-separated list, or all.
func (o *options) chooseTurns(list string) error {
	unary, stream := mainWorkloads()
	refused := append(o.variants[:1:1], o.refusers...)
	all := []turn{
		{unary, o.variants, o.requests, connections, 1},
		{stream, o.variants, o.streams, connections, 1},
		{named(refusal, unary), refused, o.requests, connections, 1},
		{named(flood, unary), refused, o.requests, manyClients, volumeRounds},
	}
	for _, v := range volumes() {
		all = append(all, turn{v.workload, volumed(o.variants), max(1, o.requests*v.share/100), connections, volumeRounds})
	}
	if list == "" {
		o.turns = all
		return nil
	}
	for name := range strings.SplitSeq(list, ",") {
		at := slices.IndexFunc(all, func(p turn) bool { return strings.EqualFold(p.name, name) })
		if name == latencies || name == guest {
			o.extra = append(o.extra, name)
			continue
		}
		if at < 0 {
			names := []string{latencies, guest}
			for _, p := range all {
				names = append(names, p.name)
			}
			return fmt.Errorf("%q is not a workload; there are %s", name, strings.Join(names, ", "))
		}
		o.turns = append(o.turns, all[at])
	}
	if !slices.ContainsFunc(o.turns, func(p turn) bool { return len(p.variants) > 1 }) {
		return errors.New("-workloads: no variant that is measured has these workloads")
	}
	if slices.Contains(o.extra, latencies) && !slices.ContainsFunc(o.turns, func(p turn) bool { return p.name == unary.name }) {
		return errors.New("-workloads: " + latencies + " needs " + unary.name + ", which tells the rate")
	}
	return nil
}

func named(name string, w workload) workload {
	w.name = name
	return w
}

// volumed are the variants whose volumes are measured: those that tell what Spillway's reading costs, and another build's.
func volumed(variants []*variant) []*variant {
	return slices.DeleteFunc(slices.Clone(variants), func(v *variant) bool {
		return !slices.Contains([]string{bare, "noop", "spillway", limitedOnce}, strings.TrimSuffix(v.name, against))
	})
}
