package usage

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
)

// Whatever a server may take for an operation's path is that operation.
func TestEverySpellingOfAPathIsItsOperation(t *testing.T) {
	o := NewOperations([]config.Operation{{Path: "/ask", Dialect: "openai.chat"}, {Path: "/Ask%20Me/", Dialect: "openai.chat"}, {Path: "/open/chat/completions", Dialect: "other"}})
	for _, path := range []string{
		"/v1/chat/completions",
		"/chat/completions",                                // any prefix, and none
		"/v1/chat%2Fcompletions", "/v1/chat%2fcompletions", // an escaped slash
		"/v1/%63hat/completions", "/v1/chat/completion%73", // an escaped letter
		"%2Fv1%2Fchat%2Fcompletions",                             //
		"/v1/chat%252Fcompletions", "/v1/chat%25252fcompletions", // escaped again
		"/v1/chat%%32%46completions",                     //
		"/v1/chat%5Ccompletions", `/v1\chat\completions`, // Windows' slashes
		"/v1//chat///completions", "/v1/chat/./completions", //
		"/v1/chat/x/../completions", "/v1/chat/x/%2e%2E/completions", //
		"/v1/x/..;/chat/completions", "/v1/chat;a=b/completions;jsessionid=1",
		"/v1/chat/completions%3Ba=b",
		"/v1/chat/completions/", "/v1/chat/completions//", "/v1/chat/completions%2F", "/v1/chat/completions/.",
		"/v1/chat/completions.", "/v1/chat/completions%20", "/v1/chat/completions%09", "/v1/chat/completions%0A",
		"/v1/chat/completions%00", "/v1/chat/completions%00.html", "/v1/chat/compl%0Aetions",
		"/v1/chat/completions%3Fx=/y", "/v1/chat/completions%23x", "/v1/chat/completions#x", "/v1/chat/completions%253Fx",
		"/v1/chat/completions.json", "/v1/chat/completions?x=/v1/models",
		"/V1/Chat/Completions", "/v1/CHAT%2FCOMPLETIONS", // routers that look at no case
		"http://host/v1/chat/completions", "//host/v1/chat/completions",
		"/v1/chat/completions%3F:predict", "/v1/chat/completions;x:countTokens", "/v1/chat/completions#/open/chat/completions",
		"/v1/chat/completions%3F/v1/embeddings", // another one's end
		"/openai/deployments/gpt.4/chat%2Fcompletions",
		"/ask/", "/x/%61sk", "/ASK", "/Ask%20Me/", "/Ask%20Me", "/ask%20me",
	} {
		if dialect, operation := o.Find(path); dialect != chat || operation != "chat" {
			t.Errorf("%s: got %v, %s", path, dialect, operation)
		}
	}
	for _, path := range []string{
		"/v1/chat/completions/x", "/v1/chat/completions/x/..%2fy", "/v1/mychat/completionsx", "/v1/chat", "/v1/ask-me", "/",
		"", "%", "%2", "/%", "?/v1/chat/completions", "/open/chat/completions", "/open/chat%2Fcompletions/",
	} {
		if dialect, _ := o.Find(path); dialect != nil {
			t.Errorf("%s: got %s", path, dialect.Name)
		}
	}
	for path, want := range map[string]string{
		"/v1/models%2Fllama-3.1": "models", "/v1/Models/": "models", "/v1beta/models/g%3AgenerateContent": "generate_content",
		"/v1beta/models/g:GENERATECONTENT/": "generate_content", "/v1/messages%2F": "messages", "/v1/embeddings.json": "embeddings",
		"/v1/publishers/anthropic/../anthropic/models/c:rawPredict": "messages", "/publishers%2Fanthropic%2Fmodels/c%3ArawPredict": "messages",
		"/v1/Publishers/Anthropic/models/c:rawPredict": "messages", "/v1/messages/count_tokens/": "other",
	} {
		if _, operation := o.Find(path); operation != want {
			t.Errorf("%s: got %s, want %s", path, operation, want)
		}
	}
}

// A model that a path names is that of the server's reading, and has neither escapes nor control characters.
func TestAModelInAPathIsRead(t *testing.T) {
	for _, test := range []struct {
		dialect *Dialect
		path    string
		model   string
		stream  bool
	}{
		{gemini, "/v1beta/models/gemini-2.5-flash:generateContent?key=x", "gemini-2.5-flash", false},
		{gemini, "/v1beta/models/gemini-2.5%2Dflash%3AstreamGenerateContent", "gemini-2.5-flash", true},
		{gemini, "/v1beta/models%2Fg%253AstreamgenerateContent%20", "g", true},
		{gemini, "/v1beta/models/cheap%2F..%2Fdear:generateContent", "dear", false},
		{gemini, "/v1beta/models/a%0A%00b%7F:generateContent;x:y", "a#b", false},
		{gemini, "/v1beta/models/a;b:generateContent", "a;b", false},
		{gemini, "/v1beta/models/a:b:streamGenerateContent", "a:b", true},
		{messages, "/v1/publishers/anthropic/models/claude@1%3AstreamRawPredict/", "claude@1", true},
		{chat, "/openai/deployments/gpt%2D4/chat/completions", "gpt-4", false},
		{chat, "/openai/Deployments/gpt-4/chat/completions/", "gpt-4", false},
		{chat, "/openai/deployments/cheap/../dear/chat/completions", "dear", false},
		{chat, "/deployments/cheap/deployments/dear/chat%2Fcompletions", "dear", false},
		{chat, "/deployments/chat/completions", "", false},
		{chat, "/deployments/", "", false},
		{chat, "/deployments/x", "x", false},
	} {
		got := FromPath(test.dialect, test.path)
		if got.Model != test.model || got.Route != test.model || got.Stream != test.stream {
			t.Errorf("%s: got %+v", test.path, got)
		}
	}
}

// A path that servers read as different models names none for sure, whatever the body says.
func TestAPathThatServersReadDifferentlyNamesNoModel(t *testing.T) {
	for _, test := range []struct {
		dialect *Dialect
		path    string
		unread  Unread
		model   string
	}{
		{chat, "/v1/chat/completions%3F/deployments/free/chat/completions", Ambiguous, ""},
		{chat, "/v1/chat/completions%23/deployments/free/chat/completions", Ambiguous, ""},
		{chat, "/v1/chat/completions%00/deployments/free/chat/completions", Ambiguous, ""},
		{chat, "/deployments/dear%3F/deployments/free/chat/completions", Ambiguous, ""},
		{chat, "/deployments/dear;free/chat/completions", Ambiguous, ""},
		{gemini, "/v1beta/models/dear:generateContent%3F/models/free:generateContent", Ambiguous, ""},
		{gemini, "/v1beta/models/dear:generateContent%2523/models/free:generateContent", Ambiguous, ""},
		{chat, "/openai/deployments/openai/dear/chat/completions", "", "openai/dear"}, // LiteLLM's
		{chat, "/openai/deployments/dear/extensions/chat/completions", "", "dear"},
		{chat, "/v1/engines/dear/completions", "", "dear"},
		{chat, "/engines/dear/chat/completions", "", "dear"},
		{chat, "/engines/v1/chat/completions", "", ""}, // Docker's
		{chat, "/engines/llama.cpp/v1/chat/completions", "", ""},
		{chat, "/openai/deployments/dear%20one/chat/completions", "", "dear one"},
	} {
		var r RequestReader
		r.Reset(test.dialect, FromPath(test.dialect, test.path), Form{}, 1<<20)
		r.Write([]byte(`{"model":"body"}`))
		got := r.Close()
		want := test.model
		if want == "" && test.unread == "" {
			got.Route, want = got.Model, "body"
		}
		if got.Unread != test.unread || test.unread == "" && got.Route != want {
			t.Errorf("%s: %+v", test.path, got)
		}
	}
}

func TestAPlainPathCostsNothing(t *testing.T) {
	o := NewOperations(nil)
	for _, path := range []string{
		"/v1/chat/completions", "/v1/embeddings", "/v1/models/gpt-4o", "/health", "/v1beta/models/gemini-2.5-pro:generateContent?alt=sse", "/openai/deployments/gpt.4/chat/completions",
	} {
		if n := testing.AllocsPerRun(10, func() { o.Find(path) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
	if n := testing.AllocsPerRun(10, func() { FromPath(chat, "/v1/chat/completions") }); n != 0 {
		t.Errorf("the model: %v allocations", n)
	}
}

// What a path says is the same whether it is known from an earlier request or not, in whichever dialect its request is read.
func TestWhatAKnownPathSaysIsTheSame(t *testing.T) {
	paths := []string{"/v1/chat/completions", "/v1/chat/completions?a=/deployments/b/", "/v1/chat/completions%3F/deployments/free/chat/completions", "/deployments/dear/chat/completions",
		"/deployments/other/chat/completions", "/engines/v1/chat/completions", "/v1/messages", "/v1beta/models/gemini:generateContent", "/api/chat", "/nothing", ""}
	rapid.Check(t, func(t *rapid.T) {
		o := NewOperations(nil)
		for range rapid.IntRange(1, 40).Draw(t, "requests") {
			path := rapid.SampledFrom(paths).Draw(t, "path")
			dialect, _ := o.Find(path)
			if dialect == nil || rapid.IntRange(0, 9).Draw(t, "another") == 0 {
				dialect = rapid.SampledFrom(append(dialects[:], Opaque)).Draw(t, "dialect")
			}
			if got, want := o.FromPath(dialect, strings.Clone(path)), FromPath(dialect, path); got != want {
				t.Fatalf("%s of %s: got %+v, want %+v", path, dialect.Name, got, want)
			}
		}
	})
}

// No path makes it fail; decoding has an end; and what a server finds that decodes once, drops what follows, or resolves, is
// found here.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/v1/chat/completions", "/v1/chat%2Fcompletions%0A", "/%25%32%66/..;a/models/x%3AgenerateContent", `\v1\\x/./../embeddings/?a=%`, "%",
		"/deployments/a/chat/completions", "/a;b/%2e%2e/v1/messages%00",
	} {
		f.Add(seed)
	}
	o := NewOperations([]config.Operation{{Path: "/ask", Dialect: "openai.chat"}})
	f.Fuzz(func(t *testing.T, path string) {
		once := decode(path)
		if again := decode(once); again != once {
			t.Fatalf("%q, decoded again %q", once, again)
		}
		if strings.IndexFunc(once, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
			t.Fatalf("control characters in %q", once)
		}
		_, got := o.Find(path)
		for _, d := range dialects {
			if r := FromPath(d, path); len(r.Model) > maxModel {
				t.Fatalf("a model of %d bytes", len(r.Model))
			}
		}
		raw, _, _ := strings.Cut(path, "?")
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			return
		}
		for _, reading := range []string{decoded, strings.TrimRight(decoded, "/"), strings.TrimSuffix(decoded, "\n"), strings.ToLower(decoded)} {
			if want := o.match(reading); want.dialect != nil && got == OperationOther {
				t.Fatalf("%q is %s for a server that reads %q", path, want.operation, reading)
			}
		}
	})
}
