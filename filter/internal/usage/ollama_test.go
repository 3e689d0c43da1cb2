package usage

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

func TestOllamasPaths(t *testing.T) {
	o := NewOperations(nil)
	for _, test := range []struct {
		path      string
		dialect   *Dialect
		operation string
	}{
		{"/api/chat", ollama, "chat"},
		{"/ollama/api/chat?x=1", ollama, "chat"},
		{"/API/Chat", ollama, "chat"},
		{"/api/chat/", ollama, "chat"},
		{"/api%2Fchat", ollama, "chat"},
		{"/api/generate", ollama, "completions"},
		{"/api/embed", ollamaEmbeddings, "embeddings"},
		{"/api/embeddings", embeddings, "embeddings"},
		{"/api/chat/completions", chat, "chat"}, // Open WebUI's
		{"/api/tags", nil, "other"},
		{"/api/pull", nil, "other"},
		{"/api/chats", nil, "other"},
		{"/v1/chat", nil, "other"},
		{"/myapi/chat", nil, "other"},
	} {
		if dialect, operation := o.Find(test.path); dialect != test.dialect || operation != test.operation {
			t.Errorf("%s: got %v, %s", test.path, dialect, operation)
		}
	}
	o = NewOperations([]config.Operation{{Path: "/ask", Dialect: "ollama"}, {Path: "/api/chat", Dialect: "other"}})
	if dialect, operation := o.Find("/ask"); dialect != ollama || operation != "chat" {
		t.Errorf("configured: got %v, %s", dialect, operation)
	}
	if dialect, _ := o.Find("/api/chat"); dialect != nil || o.Unknown("/api/chat") {
		t.Errorf("configured to pass: got %v", dialect)
	}
}

func TestOllamasRequests(t *testing.T) {
	const read = true
	for _, test := range []struct {
		name, body string
		want       Request
		loose      bool
		unread     Unread
	}{
		{"streams unless it says otherwise", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"does not stream", `{"model":"m","stream":false}`, Request{Read: read, Model: "m"}, false, ""},
		{"streams", `{"model":"m","stream":true}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"a stream of null", `{"model":"m","stream":null}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"a stream by text", `{"model":"m","stream":"false"}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"a stream by number", `{"model":"m","stream":0}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"the last of two", `{"model":"m","stream":false,"stream":true}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"stream elsewhere", `{"model":"m","options":{"stream":false}}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"a bound", `{"model":"m","options":{"temperature":0,"num_predict":100}}`, Request{Read: read, Model: "m", Stream: true, OutputBound: 100}, false, ""},
		{"no bound", `{"model":"m","options":{"num_predict":-1}}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"a bound of nothing", `{"model":"m","options":{"num_predict":0}}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"a bound beyond all", `{"model":"m","options":{"num_predict":1e99}}`, Request{Read: read, Model: "m", Stream: true, OutputBound: mostBound}, false, ""},
		{"a bound in text", `{"model":"m","options":{"num_predict":"100"}}`, Request{Read: read, Model: "m", Stream: true, OutputBound: 100}, true, ""},
		{"two bounds", `{"model":"m","options":{"num_predict":5,"num_predict":100}}`, Request{Read: read, Model: "m", Stream: true, OutputBound: 100}, true, ""},
		{"one of them none", `{"model":"m","options":{"num_predict":5,"num_predict":-1}}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"options twice", `{"model":"m","options":{"num_predict":5},"options":{}}`, Request{Read: read, Model: "m", Stream: true, OutputBound: 5}, true, ""},
		{"options in options", `{"model":"m","options":{"options":{"num_predict":5}}}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"options in another case", `{"model":"m","Options":{"num_predict":5}}`, Request{Read: read, Model: "m", Stream: true, OutputBound: 5}, true, ""},
		{"options that are none", `{"model":"m","options":[{"num_predict":5}]}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"other APIs' bounds", `{"model":"m","max_tokens":5,"num_predict":6,"n_predict":7}`, Request{Read: read, Model: "m", Stream: true}, false, ""},
		{"two models", `{"model":"cheap","model":"dear"}`, Request{Read: read, Model: "dear", Stream: true}, false, Ambiguous},
		{"a model in another case", `{"model":"cheap","Model":"dear"}`, Request{Read: read, Model: "cheap", Stream: true}, false, Ambiguous},
		{"no model", `{"prompt":"hi"}`, Request{Read: read, Stream: true}, false, Missing},
		{"broken", `{"model":"m","stream":false,"prompt`, Request{Model: "m"}, false, Malformed},
	} {
		test.want.Bytes = int64(len(test.body))
		for how, lengths := range cuts {
			got := readRequestAt("/api/chat", ollama, []byte(test.body), lengths)
			if got.OutputLoose != test.loose || got.Unread != test.unread {
				t.Errorf("%s, %s: %+v", test.name, how, got)
			}
			if basics(got) != test.want {
				t.Errorf("%s, %s: got %+v, want %+v", test.name, how, basics(got), test.want)
			}
		}
	}
	if FromPath(ollamaEmbeddings, "/api/embed").Stream || readRequest(ollamaEmbeddings, []byte(`{"model":"m","stream":true}`), cuts["whole"]).Stream {
		t.Error("embeddings don't stream")
	}
}

// What is no text of an Ollama request's prompt is not taken for it.
func TestOllamasPrompts(t *testing.T) {
	picture := strings.Repeat("iVBORw0KGgo", 1000)
	for _, test := range []struct {
		name, body, instead string // the body with what is text alone
		images, tokens      int64
	}{
		{"text", `{"prompt":"hi","system":"be","template":"{{ .Prompt }}","raw":true,"format":"json"}`, "", 0, 0},
		{"pictures of a chat", `{"messages":[{"content":"a","images":["` + picture + `","` + picture + `"]},{"images":["x"]}]}`,
			`{"messages":[{"content":"a","images":["",""]},{"images":[""]}]}`, 3, 0},
		{"a picture of a prompt", `{"images":["` + picture + `"],"prompt":"what?"}`, `{"images":[""],"prompt":"what?"}`, 1, 0},
		{"a context", `{"context":[1,22,128000],"prompt":"on"}`, `{"context":[,"prompt":"on"}`, 0, 3},
		{"neither", `{"context":["a",null,[7]],"images":[5,{}]}`, "", 0, 0},
		{"tools, calls and thoughts", `{"tools":[{"type":"function","function":{"name":"f"}}],"messages":[{"thinking":"hm","tool_calls":[{"function":{"arguments":{"a":1}}}]}]}`, "", 0, 0},
	} {
		want := Prompt{Text: int64(len(test.instead)), Images: test.images, Tokens: test.tokens, seen: int64(len(test.body))}
		if test.instead == "" {
			want.Text = want.seen
		}
		for how, lengths := range cuts {
			got := readRequestAt("/api/generate", ollama, []byte(test.body), lengths)
			if got.Prompt != want {
				t.Errorf("%s, %s: got %+v, want %+v", test.name, how, got.Prompt, want)
			}
			if got.Teaches() != (test.images+test.tokens == 0) {
				t.Errorf("%s teaches: %v", test.name, got.Teaches())
			}
		}
	}
	var r RequestReader
	r.Reset(ollama, Request{}, Form{}, 1<<20)
	r.Write([]byte(`{"images":["` + picture))
	if got := r.Cut().Prompt; got.Images != 1 || got.Text != int64(len(`{"images":["`)) || !got.open {
		t.Errorf("cut inside of a picture: %+v", got)
	}
}

const (
	olHello    = `{"model":"m","created_at":"2025-08-20T13:48:02.294374Z","message":{"role":"assistant","content":"Hello"},"done":false}` + "\n"
	olThinking = `{"model":"m","message":{"role":"assistant","content":"","thinking":"Hm"},"done":false}` + "\n"
	olTool     = `{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"city":"Paris"}}}]},"done":false}` + "\n"
	olWord     = `{"model":"m","response":"Hello","done":false}` + "\n"
	olNothing  = `{"model":"m","message":{"role":"assistant","content":""},"done":false}` + "\n"
	olEnd      = `{"model":"m","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":9,"prompt_eval_count":11,"eval_count":12}` + "\n"
)

func TestOllamasResponses(t *testing.T) {
	const reported = true
	m := func(prompt, completion, outputs int64) Response {
		return Response{Model: "m", Tokens: tokens(prompt, completion, Absent), Reported: reported, Outputs: outputs, Final: true}
	}
	done := func(members string) string { return `{"model":"m","response":"","done":true` + members + "}\n" }
	for _, test := range []struct {
		name, body string
		want       Response
		streams    bool
	}{
		{"a stream", olHello + olHello + olEnd, m(11, 12, 2), true},
		{"thoughts", olThinking + olThinking + olHello + olEnd, m(11, 12, 3), true},
		{"a prompt's", olWord + olWord + done(`,"context":[1,2,3],"prompt_eval_count":11,"eval_count":12`), m(11, 12, 2), true},
		{"a call", olTool + olEnd, m(11, 12, 1), true},
		{"lines with CRLF", strings.ReplaceAll(olHello+olEnd, "\n", "\r\n"), m(11, 12, 1), true},
		{"lines without ends", strings.ReplaceAll(olHello+olHello+olEnd, "\n", ""), m(11, 12, 2), true},
		{"empty lines", "\n\n" + olHello + "\n\n" + olEnd, m(11, 12, 1), true},
		{"events", data(strings.TrimSpace(olHello), strings.TrimSpace(olHello), strings.TrimSpace(olEnd)), m(11, 12, 2), true},
		{"a document", `{"model":"m","message":{"role":"assistant","content":"Hello"},"done":true,"prompt_eval_count":11,"eval_count":12}`, m(11, 12, 1), false},
		{"a document that is laid out", "{\n  \"model\": \"m\",\n  \"response\": \"Hello\",\n  \"done\": true,\n  \"eval_count\": 12\n}\n", m(Absent, 12, 1), false},
		{"a prompt that was cached", olHello + done(`,"eval_count":12`), m(Absent, 12, 1), true},
		{"no count of the output that passed", olHello + done(`,"prompt_eval_count":11`), m(11, Absent, 1), true},
		{"no output", done(`,"done_reason":"stop","prompt_eval_count":11`), m(11, 0, 0), false},
		{"a model that is loaded", done(`,"done_reason":"load"`), m(0, 0, 0), false},
		{"a model that is unloaded", `{"model":"m","done_reason":"unload","done":true}`, m(0, 0, 0), false},
		{"counts in the middle", `{"model":"m","response":"a","done":false,"eval_count":1}` + "\n" + done(`,"prompt_eval_count":11,"eval_count":12`), m(11, 12, 1), true},
		{"done twice", olHello + olEnd + strings.Replace(olEnd, "12", "13", 1), m(11, 13, 1), true},
		{"no end", olHello + olHello, Response{Model: "m", Outputs: 2}, true},
		{"the first line", olHello, Response{Model: "m", Outputs: 1}, true},
		{"a line that is cut off", olHello + olHello[:len(olHello)/2], Response{Model: "m", Outputs: 1}, true},
		{"nothing known", olNothing + olEnd, Response{Model: "m", Tokens: tokens(11, 12, Absent), Reported: reported, Unknown: 1, Final: true}, true},
		{"an error", `{"error":"model 'm' not found"}`, Response{Failure: 500}, false},
		{"an error in a stream", olHello + `{"error":"an error was encountered while running the model"}` + "\n", Response{Model: "m", Outputs: 1, Failure: 500}, true},
		{"an error that is none", `{"model":"m","error":"","done":false}`, Response{Model: "m"}, true},
		{"counts that can't be", done(`,"done_reason":"stop","prompt_eval_count":-1,"eval_count":1.5`), Response{Model: "m", Tokens: tokens(Absent, 0, Absent), Reported: reported, Final: true, Absurd: true}, false},
	} {
		for how, lengths := range cuts {
			for _, typed := range []bool{false, true} {
				var r ResponseReader
				r.Reset(ollama, typed)
				pieces([]byte(test.body), lengths, r.Write)
				streams := r.Streams(true)
				r.Close()
				got := r.Response()
				got.Text = 0
				if !test.want.Reported {
					test.want.Tokens = none
				}
				if got != test.want || streams != test.streams {
					t.Errorf("%s, typed %v, %s: got %+v, streams %v, want %+v, %v", test.name, typed, how, got, streams, test.want, test.streams)
				}
			}
		}
	}
}

// Embeddings have no output.
func TestOllamasEmbeddings(t *testing.T) {
	checkResponses(t, false, []responseTest{
		{"reported", ollamaEmbeddings, `{"model":"m","embeddings":[[0.1,-2]],"total_duration":9,"load_duration":1,"prompt_eval_count":8}`,
			Response{Model: "m", Tokens: tokens(8, 0, Absent), Reported: true}},
		{"cached", ollamaEmbeddings, `{"model":"m","embeddings":[[0.1,-2]]}`, Response{Model: "m"}},
		{"failed", ollamaEmbeddings, `{"error":"no"}`, Response{Failure: 500}},
	})
}

// Of calls, whose arguments are objects, the size is known when they are complete.
func TestOllamasCallsCountByTheirSize(t *testing.T) {
	for arguments, want := range map[string]int64{`{"city":"Paris"}`: 0, `{"text":"` + strings.Repeat("x", 5000) + `"}`: 4600} {
		line := strings.Replace(olTool, `{"city":"Paris"}`, arguments, 1)
		got := readResponse(ollama, false, []byte(line+olHello), cuts["by sevens"])
		if got.Outputs != 2 || got.Text < want || got.Text > want+100 || got.Unknown != 0 {
			t.Errorf("%.40s: %+v", arguments, got)
		}
	}
}

// A line of 100 MB takes no memory, wherever its length is.
func TestALineWithoutEndIsNotKept(t *testing.T) {
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for _, start := range []string{`{"response":"`, `{"model":"`, `{"`, `{"done_reason":"`, `{"eval_count":1`, ``} {
		var r ResponseReader
		r.Reset(ollama, false)
		r.Write([]byte(olHello + start))
		if strings.HasSuffix(start, "1") {
			chunk = bytes.Repeat([]byte("1"), 1<<20)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			r.Write(chunk)
			r.Response()
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<16 {
			t.Errorf("%s: %d bytes", start, grown)
		}
		if r.Close(); r.Response().Reported || r.Response().Outputs != 1 {
			t.Errorf("%s: %+v", start, r.Response())
		}
	}
}

func TestALineAllocatesNothing(t *testing.T) {
	var r ResponseReader
	r.Reset(ollama, false)
	lines := []byte(olHello + olThinking + olTool + olEnd)
	r.Write(lines) // the model's name is kept once
	if n := testing.AllocsPerRun(10, func() { r.Write(lines) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzOllama: however a stream of lines, and a request, is cut into pieces, it says the same.
func FuzzOllama(f *testing.F) {
	f.Add([]byte(olHello+olTool+olThinking+olEnd), uint8(3))
	f.Add([]byte(olWord+`{"error":"x"}`+"\r\n"+olEnd+"{"), uint8(0))
	f.Add([]byte(`{"model":"m","stream":false,"options":{"num_predict":-1},"options":{"num_predict":7},"images":["aGk="],"context":[1,2]}`), uint8(1))
	f.Add([]byte(`{"done_reason":"load","done":true}{"done":false,"message":{"tool_calls":[{},[]]}}`), uint8(6))
	f.Fuzz(func(t *testing.T, body []byte, step uint8) {
		for _, dialect := range []*Dialect{ollama, ollamaEmbeddings} {
			request, response := readRequest(dialect, body, cuts["whole"]), readResponse(dialect, false, body, cuts["whole"])
			if request.Prompt.Text < 0 || request.OutputBound < 0 || response.Text < 0 || response.Outputs < 0 {
				t.Fatalf("%+v, %+v", request, response)
			}
			for _, lengths := range [][]int{{1}, {int(step) + 1}, {int(step), 1}} {
				if got := readRequest(dialect, body, lengths); got != request {
					t.Fatalf("request in pieces of %v: %+v, whole: %+v", lengths, got, request)
				}
				if got := readResponse(dialect, false, body, lengths); got != response {
					t.Fatalf("response in pieces of %v: %+v, whole: %+v", lengths, got, response)
				}
			}
		}
	})
}
