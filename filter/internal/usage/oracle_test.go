package usage

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf16"
)

// What is asked of a reader: whoever a server lets through with a model, the filter saw that model, or knows that it can't tell.
// The servers are Python's json, as Flask, Starlette and FastAPI use it, and Go's encoding/json.

// pythonOracle answers, for each line of a body in base64 behind the name of its coding, null if it is refused, else the model's
// name, or false if there is none.
const pythonOracle = `
import base64, gzip, json, sys, zlib
decode = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress, "bare": lambda b: zlib.decompress(b, -15)}
for line in sys.stdin:
    coding, _, body = line.rstrip("\n").partition(" ")
    answer = None
    try:
        document = json.loads(decode[coding](base64.b64decode(body)))
        model = document.get("model") if isinstance(document, dict) else None
        answer = model if isinstance(model, str) and model else False
    except Exception:
        pass
    print(json.dumps(answer))
`

// odd is a body and its coding.
type odd struct {
	coding string
	body   []byte
}

func TestPythonsServersGetNoModelThatWasNotSeen(t *testing.T) {
	bodies := oddBodies(6000)
	var input bytes.Buffer
	for _, b := range bodies {
		fmt.Fprintf(&input, "%s %s\n", b.coding, base64.StdEncoding.EncodeToString(b.body))
	}
	python := exec.Command("python3", "-c", pythonOracle)
	python.Stdin = &input
	output, err := python.Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	answers := strings.Split(strings.TrimSpace(string(output)), "\n")
	if len(answers) != len(bodies) {
		t.Fatalf("%d answers to %d bodies", len(answers), len(bodies))
	}
	passed, told := 0, 0
	for i, b := range bodies {
		var answer any
		if err := json.Unmarshal([]byte(answers[i]), &answer); err != nil {
			t.Fatal(err)
		}
		if answer == nil {
			continue
		}
		passed++
		model, _ := answer.(string)
		if check(t, "Python", b, model) {
			told++
		}
	}
	t.Logf("%d of %d bodies pass, of %d the model is told", passed, len(bodies), told)
	if passed < len(bodies)/3 || told < passed/4 {
		t.Error("too few to say anything")
	}
}

func TestGosServersGetNoModelThatWasNotSeen(t *testing.T) {
	passed, told := 0, 0
	for _, b := range oddBodies(6000) {
		var document struct {
			Model string `json:"model"`
		}
		text, err := decoded(b)
		if err != nil || json.NewDecoder(bytes.NewReader(text)).Decode(&document) != nil {
			continue
		}
		passed++
		if check(t, "Go", b, document.Model) {
			told++
		}
	}
	t.Logf("%d bodies pass, of %d the model is told", passed, told)
	if passed < 1000 || told < passed/4 {
		t.Error("too few to say anything")
	}
}

// check reads a body in pieces, and says whether the model was told.
func check(t *testing.T, server string, b odd, model string) bool {
	t.Helper()
	coding := strings.Replace(b.coding, "bare", "deflate", 1)
	got := readForm("", chat, NewForm(coding, "application/json"), b.body, []int{1 + len(b.body)%7, 3, 1 << 12})
	if got.Unread == "" && got.Model != model {
		t.Errorf("%s lets %.300q (%s) through with the model %q; seen: %+v", server, b.body, b.coding, model, got)
	}
	return got.Unread == ""
}

func decoded(b odd) ([]byte, error) {
	var r io.Reader = bytes.NewReader(b.body)
	var err error
	switch b.coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "deflate":
		r, err = zlib.NewReader(r)
	case "bare":
		r = flate.NewReader(r)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// oddBodies are made of a few sound ones, by changes that somebody may make who has something to hide.
func oddBodies(n int) []odd {
	random := newRandom()
	bodies := make([]odd, 0, n)
	for len(bodies) < n {
		text := sound[random.IntN(len(sound))]
		if random.IntN(2) == 0 {
			text = sound[random.IntN(ordinary)]
		}
		for range random.IntN(4) {
			text = textChanges[random.IntN(len(textChanges))](random, text)
		}
		body := []byte(text)
		if random.IntN(3) == 0 {
			body = byteChanges[random.IntN(len(byteChanges))](random, body)
		}
		b := odd{body: body}
		if random.IntN(6) == 0 {
			b = packed(random, body)
		}
		bodies = append(bodies, b)
	}
	return bodies
}

// The first of them have nothing that servers take differently.
const ordinary = 5

var sound = []string{
	`{"model":"alpha"}`,
	`{"messages":[{"role":"user","content":"hello \u00e9 \ud83d\ude00"}],"model":"alpha","max_tokens":5}`,
	`{"model":"alpha","temperature":0.5,"stop":null,"stream":true,"logit_bias":{"1":-100}}`,
	"{\n\t\"model\" : \"al\\u0070ha\" ,\r\n \"x\" : [ 1 , 2.5e-3 , { } , [ ] ] }",
	`{"mod\u0065l":"alpha","metadata":{"model":"beta"}}`,
	`{"model":"alpha","model":"beta"}`, `{"model":"alpha","model":null}`, `{"model":null,"model":"alpha"}`,
	`{"MODEL":"alpha"}`, `{"model":"alpha","Model":"beta"}`, `{"Model":"alpha","model":"beta"}`, `{"model":"alpha","MODEL":"alpha"}`,
	`{"model":"é€😀"}`, `{"model":""}`, `{"model":7}`, `{"model":["alpha"]}`, `{}`, `[{"model":"alpha"}]`, `"model"`, `null`,
	`{"model":"alpha","model":{"x":"beta"}}`, `{"a":{"model":"beta"},"model":"alpha"}`,
}

var textChanges = []func(*rand.Rand, string) string{
	// Members, before and behind the others.
	func(r *rand.Rand, s string) string { return withMember(r, s, `"x":NaN`) },
	func(r *rand.Rand, s string) string { return withMember(r, s, `"x":[Infinity,-Infinity]`) },
	func(r *rand.Rand, s string) string { return withMember(r, s, `"model":"beta"`) },
	func(r *rand.Rand, s string) string { return withMember(r, s, `"MoDeL":"beta"`) },
	func(r *rand.Rand, s string) string { return withMember(r, s, `"mo\u0064el":"beta"`) },
	func(r *rand.Rand, s string) string { return withMember(r, s, `"model":-Infinity`) },
	func(r *rand.Rand, s string) string {
		return withMember(r, s, `"x":"`+strings.Repeat("y", r.IntN(3000))+`"`)
	},
	func(r *rand.Rand, s string) string {
		return withMember(r, s, `"x":`+strings.Repeat("9", 1+r.IntN(900))+`.5e3`)
	},
	func(r *rand.Rand, s string) string {
		depth := 1 + r.IntN(900)
		return withMember(r, s, `"x":`+strings.Repeat("[", depth)+strings.Repeat("]", depth))
	},
	func(r *rand.Rand, s string) string { return withMember(r, s, `"\ud83d\ud83d":"\ude00\ud800x"`) },
	func(r *rand.Rand, s string) string { return withMember(r, s, `"model":"a\ud800b"`) },
	func(r *rand.Rand, s string) string { return withMember(r, s, `"model\u0000":"beta"`) },
	// What stands around the document.
	func(r *rand.Rand, s string) string { return strings.Repeat(" \n\r\t", r.IntN(2000)) + s },
	func(_ *rand.Rand, s string) string { return s + `{"model":"beta"}` },
	func(_ *rand.Rand, s string) string { return s + "garbage" },
	func(_ *rand.Rand, s string) string { return "\ufeff" + s },
	func(_ *rand.Rand, s string) string { return `{"model":"beta"}` + "\n" + s },
	// What stands in it.
	func(r *rand.Rand, s string) string { at := r.IntN(len(s) + 1); return s[:at] + "\x01" + s[at:] },
	func(r *rand.Rand, s string) string { at := r.IntN(len(s) + 1); return s[:at] + "\x00" + s[at:] },
	func(r *rand.Rand, s string) string { return s[:r.IntN(len(s)+1)] },
	func(_ *rand.Rand, s string) string {
		return strings.Replace(s, "alpha", strings.Repeat("long", 100), 1)
	},
	func(_ *rand.Rand, s string) string { return strings.Replace(s, "model", "mode\\u006C", 1) },
	func(_ *rand.Rand, s string) string { return strings.Replace(s, `,`, `,,`, 1) },
	func(_ *rand.Rand, s string) string { return strings.Replace(s, `"`, `'`, 2) },
	func(_ *rand.Rand, s string) string { return strings.Replace(s, `{`, `{/*"*/`, 1) },
}

// withMember adds a member to the document's object, if it is one.
func withMember(r *rand.Rand, s, member string) string {
	trimmed := strings.TrimRight(s, " \n\r\t")
	if !strings.HasSuffix(trimmed, "}") || strings.HasSuffix(trimmed, "{}") {
		return s
	}
	if at := strings.IndexByte(s, '{'); r.IntN(2) == 0 {
		return s[:at+1] + member + "," + s[at+1:]
	}
	return trimmed[:len(trimmed)-1] + "," + member + "}"
}

var byteChanges = []func(*rand.Rand, []byte) []byte{
	func(r *rand.Rand, b []byte) []byte { return inUTF16(binary.LittleEndian, r.IntN(2) == 0, b) },
	func(r *rand.Rand, b []byte) []byte { return inUTF16(binary.BigEndian, r.IntN(2) == 0, b) },
	func(r *rand.Rand, b []byte) []byte { return inUTF32(binary.LittleEndian, r.IntN(2) == 0, b) },
	func(r *rand.Rand, b []byte) []byte { return inUTF32(binary.BigEndian, r.IntN(2) == 0, b) },
	func(r *rand.Rand, b []byte) []byte { // the end of a wider encoding is missing
		b = inUTF16(binary.LittleEndian, true, b)
		return b[:len(b)-r.IntN(2)]
	},
	func(_ *rand.Rand, b []byte) []byte {
		return bytes.Replace(b, []byte("alpha"), []byte("al\xed\xa0\x80pha"), 1)
	},
	func(_ *rand.Rand, b []byte) []byte { return bytes.Replace(b, []byte("alpha"), []byte("al\xffpha"), 1) },
	func(r *rand.Rand, b []byte) []byte {
		b = bytes.Clone(b)
		if len(b) > 0 {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		return b
	},
}

func inUTF16(order binary.AppendByteOrder, mark bool, text []byte) (b []byte) {
	if mark {
		b = order.AppendUint16(b, 0xfeff)
	}
	for _, unit := range utf16.Encode([]rune(string(text))) {
		b = order.AppendUint16(b, unit)
	}
	return b
}

func inUTF32(order binary.AppendByteOrder, mark bool, text []byte) (b []byte) {
	if mark {
		b = order.AppendUint32(b, 0xfeff)
	}
	for _, c := range string(text) {
		b = order.AppendUint32(b, uint32(c))
	}
	return b
}

// packed compresses a body, or only says so.
func packed(r *rand.Rand, body []byte) odd {
	var b bytes.Buffer
	var w io.WriteCloser
	coding := []string{"gzip", "deflate", "bare"}[r.IntN(3)]
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	default:
		w, _ = flate.NewWriter(&b, r.IntN(10))
	}
	_, _ = w.Write(body)
	_ = w.Close()
	return odd{coding, b.Bytes()}
}
