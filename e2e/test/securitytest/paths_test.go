package securitytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// handlers are an inference server's, by path, with the operations that they are.
var handlers = map[string]string{
	"/v1/chat/completions": "chat", "/v1/completions": "completions", "/v1/embeddings": "embeddings", "/v1/responses": "responses",
	"/v1/messages": "messages", "/v1/images/generations": "images", "/v1/images/edits": "images",
	"/v1/audio/transcriptions": "audio", "/v1/audio/speech": "audio",
	"/openai/deployments/{model}/chat/completions": "chat", "/openai/deployments/{model}/embeddings": "embeddings",
	"/v1beta/models/{model}:generateContent": "generate_content", "/v1beta/models/{model}:streamGenerateContent": "generate_content",
	"/v1/publishers/anthropic/models/{model}:rawPredict": "messages",
	"/ask": "chat", "/Ask%Me/": "chat",
}

// configured are those that the filter has to be told of.
const configured = `"operations":[{"path":"/ask","dialect":"openai.chat"},{"path":"/Ask%Me/","dialect":"openai.chat"}]`

// models stand in the paths of those who name one there.
var models = []string{"gpt-4", "gemini-2.5-pro", "a;b", "a?b", "x y"}

// spellings are ways of writing a path, alone and one after the other: some are understood, some are not.
func spellings(path string) (all []string) {
	escape := func(s string, at int, format string) string { return s[:at] + fmt.Sprintf(format, s[at]) + s[at+1:] }
	once := func(p string) (some []string) {
		for i := range len(p) {
			if p[i] != '%' {
				some = append(some, escape(p, i, "%%%02x"), escape(p, i, "%%%02X"))
			}
		}
		for _, slash := range []string{"//", "/./", "/x/../", "/%2e/", "/x/%2E%2e/", "/;a/", "%2F", "%2f", "%5c"} {
			some = append(some, strings.ReplaceAll(p, "/", slash), p[:1]+strings.Replace(p[1:], "/", slash, 1))
			if last := strings.LastIndexByte(p, '/'); last >= 0 {
				some = append(some, p[:last]+slash+p[last+1:])
			}
		}
		for _, tail := range []string{
			"/", "//", "%2F", "/.", "/..", ".", ";a=b", "%3Ba", "?a=b", "%3Fa", "#a", "%23a", "%20", "%09", "%0A", "%0a%0A", "%0D", "%00", "%7F",
			"?", "%", "%0", ".json", "/x", "?next=/v1/models", "%E2%80%A8", "%FF", "/%2e%2e/", "+",
		} {
			some = append(some, p+tail)
		}
		some = append(some, strings.ToUpper(p), "/prefix"+p, "/prefix/.."+p, "/other"+p, strings.ReplaceAll(p, "/", "%252F"), p[1:], "/"+p)
		var each strings.Builder
		for i := range len(p) {
			fmt.Fprintf(&each, "%%%02x", p[i])
		}
		return append(some, each.String())
	}
	all = append([]string{path}, once(path)...)
	for i, p := range slices.Clone(all) { // two at a time, some of them
		if more := once(p); len(more) > 0 {
			for j := range 6 {
				all = append(all, more[(i*7+j*13)%len(more)])
			}
		}
	}
	return all
}

// Whatever Starlette leads to a handler, the filter knows for the handler's operation; where the path names the model, for that
// model's. Envoy's own normalization is left out: the filter must not depend on it.
func TestTheFilterKnowsEveryPathThatStarletteServes(t *testing.T) {
	t.Parallel()
	var requests [][2]string
	for _, path := range sorted(handlers) {
		written := []string{strings.ReplaceAll(path, "%", "%25")}
		if strings.Contains(path, "{model}") {
			written = nil
			for _, model := range models {
				escaped := strings.NewReplacer("?", "%3F", " ", "%20").Replace(model)
				written = append(written, strings.Replace(path, "{model}", escaped, 1))
			}
		}
		for _, p := range written {
			for _, spelling := range spellings(p) {
				requests = append(requests, [2]string{"POST", spelling})
			}
		}
	}
	served := askStarlette(t, requests)
	vm := filterAlone(t, `{`+configured+`}`)
	names, redirected := 0, 0
	for i, request := range requests {
		if served[i][0] == "" {
			continue
		}
		names++
		operation, model := vm.read(request[0], request[1])
		if want := handlers[served[i][0]]; operation != want {
			t.Errorf("%s: %s for the server, %s for the filter", request[1], want, operation)
		}
		if want := served[i][1]; want != "" && !strings.ContainsAny(want, "\x00\r\n\t\x7f/%\\#\ufffd\u2028") && want != model {
			t.Errorf("%s: the model is %q for the server, %q for the filter", request[1], want, model)
		}
		if strings.HasSuffix(request[1], "/") {
			redirected++
		}
	}
	t.Logf("%d of %d spellings are served, %d of them with a slash at the end", names, len(requests), redirected)
	if names < 1000 || redirected == 0 {
		t.Error("the server understands too few for a comparison")
	}
}

// askStarlette gives for each request the path of the handler that gets it, and the model that the path names.
func askStarlette(t *testing.T, requests [][2]string) [][2]string {
	t.Helper()
	dir, version := harness.PythonPackages(t, "starlette", "starlette", "requirements.txt")
	routes := map[string]string{}
	for path := range handlers {
		routes[path] = path
	}
	input, err := json.Marshal(map[string]any{"routes": routes, "requests": requests})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "python3", filepath.Join("testdata", "routing.py"))
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PYTHONPATH=" + dir, "PYTHONNOUSERSITE=1"}
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("run Starlette: %v\n%s", err, stderr.Bytes())
	}
	var output struct {
		Version string
		Answers [][2]string
	}
	if err := json.Unmarshal(stdout.Bytes(), &output); err != nil || len(output.Answers) != len(requests) || output.Version != version {
		t.Fatalf("Starlette %s, want %s, gave %d answers, want %d: %v", output.Version, version, len(output.Answers), len(requests), err)
	}
	return output.Answers
}

// alone is the filter without an Envoy, for more requests than that could be asked.
type alone struct{ vm *wasmhost.VM }

func filterAlone(t *testing.T, config string) alone {
	t.Helper()
	path, err := envoyproc.LocateWasm()
	if err != nil {
		t.Fatal(err)
	}
	module, err := wasmhost.Compile(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := wasmhost.NewHost(module, wasmhost.Options{AllowOnHeadersStopIteration: true}).StartVM(nil, []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Kill)
	return alone{vm}
}

// read gives what the filter makes of a path: the operation, and the model of a body that names none.
func (a alone) read(method, path string) (operation, model string) {
	s := a.vm.NewStream()
	s.RequestHeaders([][2]string{{":method", method}, {":path", path}, {":authority", "llm"}, {"content-type", "application/json"}}, false)
	s.RequestBody([]byte(`{"messages":[]}`), true)
	operation, model = s.FilterState["wasm.gen_ai.operation.name"], s.FilterState["wasm.gen_ai.request.model"]
	s.ResponseHeaders([][2]string{{":status", "200"}}, true)
	s.Done()
	return operation, model
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// However a path is written that a server may understand, the limit holds: in an Envoy as it is shipped, and in one that normalizes
// nothing.
func TestNoSpellingOfAPathIsOutsideTheLimits(t *testing.T) {
	t.Parallel()
	const config = `{"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":100,"window":"1h"}],` + configured + `}`
	asIs := func(b *envoyproc.Bootstrap) {
		b.Edit(func(root map[string]any) {
			harness.Visit(root, func(o map[string]any) {
				if o["normalize_path"] != nil {
					o["normalize_path"], o["merge_slashes"], o["path_with_escaped_slashes_action"] = false, false, "KEEP_UNCHANGED"
				}
			})
		})
	}
	for name, edit := range map[string]func(*envoyproc.Bootstrap){"as shipped": nil, "without normalization": asIs} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, harness.Options{Config: config, Edit: edit, Concurrency: 2}, completes(76))
			user := 0
			check := func(what string, send func(user string) answer) {
				user++
				id := fmt.Sprintf("user-%d", user)
				got := statuses(3, func(int) answer { return send(id) })
				if got != "200 200 429" {
					t.Errorf("%s: got %s, want 200 200 429", what, got)
				}
			}
			for _, target := range []string{
				chatPath, "/v1/chat%2Fcompletions", "/v1/chat%2fcompletions", "/v1/%63hat/completions", "/v1/chat%252Fcompletions",
				"/v1//chat/completions", "/v1/./chat/x/../completions", "/v1/chat/%2e/completions", chatPath + "/", chatPath + "%0A", chatPath + "%20",
				chatPath + ";a=b", chatPath + "%3Fa", "/V1/Chat/Completions", "http://llm" + chatPath, "http://llm/v1/chat%2Fcompletions",
				"/any/prefix/v1/chat/completions?x=y", `/v1\chat\completions`, "/v1/chat%5Ccompletions", "/ask%2F",
				"/v1/completions%2f",
			} {
				check("POST "+target, func(user string) answer { return g.send(t, "POST", target, hello, "x-user-id: "+user) })
			}
			for _, method := range []string{"PUT", "PATCH", "GET", "OPTIONS", "DELETE"} {
				check(method, func(user string) answer {
					return g.send(t, method, chatPath, hello, "x-user-id: "+user, "x-http-method-override: POST", "origin: http://x",
						"access-control-request-method: POST")
				})
			}
			client := http2Client(t)
			for _, method := range []string{"post", "PosT", "GENERATE"} { // HTTP/2 knows no list of methods
				check(method+" by HTTP/2", func(user string) answer {
					request, err := http.NewRequest(method, g.URL+chatPath, strings.NewReader(hello))
					if err != nil {
						t.Fatal(err)
					}
					request.Header.Set("x-user-id", user)
					response, err := client.Do(request)
					if err != nil {
						t.Fatal(err)
					}
					_ = response.Body.Close()
					return answer{status: response.StatusCode}
				})
			}
		})
	}
}

// http2Client speaks HTTP/2 without TLS.
func http2Client(t *testing.T) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}
