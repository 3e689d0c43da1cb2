package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// What the upstream answers.
const (
	promptTokens = 180 // as a request of about 1 KB has
	jsonTokens   = 76
	streamEvents = 50 // of a stream, in all
	streamTokens = streamEvents - 2
)

// connectionHeader names the client's connection to the upstream.
const connectionHeader = "x-connection"

// upstream is the LLM server: fixed answers, so that it takes little of the CPU that Envoy shares with it.
//
// A stream's next event is written when the client has the one before, and no sooner. So Envoy gets each by itself, as it
// would from a model that takes milliseconds for each; written in one go, a busy Envoy would read many at a time, and how
// many would be chance.
type upstream struct {
	server   *http.Server
	address  string
	answer   []byte
	events   [][]byte
	received []chan struct{} // by connection: the client has an event
}

func startUpstream(connections int) (*upstream, error) {
	u := &upstream{answer: jsonAnswer(), events: streamAnswer(), received: make([]chan struct{}, connections)}
	for i := range u.received {
		u.received[i] = make(chan struct{}, 1)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the upstream: %w", err)
	}
	u.address = listener.Addr().String()
	u.server = &http.Server{Handler: u}
	go func() { _ = u.server.Serve(listener) }()
	return u, nil
}

func (u *upstream) stop() { _ = u.server.Close() }

// ServeHTTP implements http.Handler.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header()["Content-Type"] = []string{"application/json"}
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(u.answer))}
		_, _ = w.Write(u.answer) // a client that has left is the load generator's to report
		return
	}
	u.stream(w, r)
}

func (u *upstream) stream(w http.ResponseWriter, r *http.Request) {
	connection, err := strconv.Atoi(r.Header.Get(connectionHeader))
	if err != nil || connection < 0 || connection >= len(u.received) {
		http.Error(w, connectionHeader+" is missing or unknown", http.StatusBadRequest)
		return
	}
	w.Header()["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	control := http.NewResponseController(w)
	for i, event := range u.events {
		if _, err := w.Write(event); err != nil {
			return
		}
		if i == len(u.events)-1 {
			return // the last event leaves with the end of the body
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-u.received[connection]:
		case <-r.Context().Done():
			return
		}
	}
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

// jsonAnswer is a chat completion of about 700 bytes.
func jsonAnswer() []byte {
	return []byte(answerHead + "chat.completion" + answerName + `{"index":0,"message":{"role":"assistant","content":"` +
		words(jsonTokens) + `"},"finish_reason":"stop"}],` + usage(jsonTokens))
}

// streamAnswer is a chat completion in events: one for each token, the usage, and the end mark.
func streamAnswer() (events [][]byte) {
	add := func(data string) { events = append(events, []byte("data: "+data+"\n\n")) }
	head := answerHead + "chat.completion.chunk" + answerName
	for i := range streamTokens {
		role, finish := "", "null"
		if i == 0 {
			role = `"role":"assistant",`
		}
		if i == streamTokens-1 {
			finish = `"stop"`
		}
		add(head + `{"index":0,"delta":{` + role + `"content":"token "},"finish_reason":` + finish + `}],"usage":null}`)
	}
	add(head + `],` + usage(streamTokens))
	add("[DONE]")
	return events
}
