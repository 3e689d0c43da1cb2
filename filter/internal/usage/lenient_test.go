package usage

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
)

// What some common server reads is read, however it is packed, spelled and cut into pieces.
func TestWhatAServerReadsIsRead(t *testing.T) {
	random := newRandom()
	body := `{"messages":[{"content":"hi é"}],"model":"mock","max_tokens":100}`
	pack := func(coding string) []byte {
		for {
			if b := packed(random, []byte(body)); b.coding == coding && b.body[0] != 0 { // a zero may begin UTF-16, too
				return b.body
			}
		}
	}
	once := pack("gzip")
	for _, test := range []struct {
		name, encoding, contentType string
		body                        []byte
	}{
		{"plain", "", "", []byte(body)},
		{"NaN", "", "", []byte(`{"x":NaN,` + body[1:])},
		{"infinities", "", "", []byte(`{"x":[Infinity,-Infinity,-1],` + body[1:])},
		{"a mark", "", "", []byte("\ufeff" + body)},
		{"UTF-16, little-endian", "", "", inUTF16(binary.LittleEndian, false, []byte(body))},
		{"UTF-16, big-endian with a mark", "", "", inUTF16(binary.BigEndian, true, []byte(body))},
		{"UTF-32, little-endian with a mark", "", "", inUTF32(binary.LittleEndian, true, []byte(body))},
		{"UTF-32, big-endian", "", "", inUTF32(binary.BigEndian, false, []byte(body))},
		{"white space", "", "", []byte(strings.Repeat(" \n\t\r", 5000) + body)},
		{"control characters in a string", "", "", []byte("{\"x\":\"a\x01\nb\"," + body[1:])},
		{"something behind it", "", "", []byte(body + " and more")},
		{"a long number", "", "", []byte(`{"x":` + strings.Repeat("7", 5000) + `,` + body[1:])},
		{"escapes in a name", "", "", []byte(strings.Replace(body, "model", `\u006dodel`, 1))},
		{"gzip", "gzip", "", pack("gzip")},
		{"gzip by its old name", "X-Gzip", "", pack("gzip")},
		{"deflate", "deflate", "", pack("deflate")},
		{"deflate without a header", "deflate", "", pack("bare")},
		{"gzip that says deflate", "deflate", "", pack("gzip")},
		{"deflate that says gzip", "gzip", "", pack("deflate")},
		{"gzip and nothing", "gzip, identity", "", pack("gzip")},
		{"gzip twice", "gzip, gzip", "", gzipped(once)},
		{"a charset", "", `application/json; charset="UTF-8"`, []byte(body)},
	} {
		for how, lengths := range cuts {
			got := readForm("", chat, NewForm(test.encoding, test.contentType), test.body, lengths)
			if !got.Read || got.Unread != "" || got.Model != "mock" || got.OutputBound != 100 {
				t.Errorf("%s, %s: %+v", test.name, how, got)
			}
		}
	}
}

func gzipped(text []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(text)
	_ = w.Close()
	return b.Bytes()
}

func newRandom() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// What can't be read for sure is said to be so, with what was found.
func TestWhatOnlySomeServersReadIsUnread(t *testing.T) {
	const body = `{"model":"mock","max_tokens":100}`
	for _, test := range []struct {
		name, encoding, contentType, body string
		why                               Unread
		found                             string
	}{
		{"nothing", "", "", "", NoBody, ""},
		{"no model", "", "", `{"max_tokens":100}`, Missing, ""},
		{"an empty model", "", "", `{"model":""}`, Missing, ""},
		{"no text", "", "", `{"model":["mock"]}`, Missing, ""},
		{"null", "", "", `{"model":null}`, Missing, ""},
		{"two models", "", "", `{"model":"free","model":"mock"}`, Ambiguous, "mock"},
		{"a model and null", "", "", `{"model":"mock","model":null}`, Ambiguous, ""},
		{"two models in two cases", "", "", `{"model":"mock","Model":"free"}`, Ambiguous, "mock"},
		{"another case", "", "", `{"MODEL":"mock"}`, Ambiguous, "mock"},
		{"no UTF-8", "", "", "{\"model\":\"mo\xffck\"}", Ambiguous, "mo\ufffdck"},
		{"a name that is cut", "", "", `{"model":"` + strings.Repeat("m", 257) + `"}`, NameTooLong, strings.Repeat("m", 256)},
		{"comments", "", "", `{"model":"free",/* */"model":"mock"}`, Malformed, "free"},
		{"single quotes", "", "", `{"model":"free",'model':"mock"}`, Malformed, "free"},
		{"brotli", "br", "", "\x8b\x02\x80whatever", Encoded, ""},
		{"brotli, by the header alone", "br", "", body, Encoded, "mock"},
		{"gzip, by the header alone", "gzip", "", body, Encoded, "mock"},
		{"gzip that is cut off", "gzip", "", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\x01", Malformed, ""},
		{"many layers", "gzip, gzip, gzip, gzip", "", body, Encoded, "mock"},
		{"a charset that Python knows", "", "application/json; charset=utf-7", body, Encoded, "mock"},
		{"a form", "", "application/x-www-form-urlencoded", "model=mock", Malformed, ""},
	} {
		for how, lengths := range cuts {
			got := readForm("", chat, NewForm(test.encoding, test.contentType), []byte(test.body), lengths)
			if got.Unread != test.why || got.Model != test.found {
				t.Errorf("%s, %s: %+v", test.name, how, got)
			}
		}
	}
	if got := readForm("/openai/deployments/gpt/chat/completions", chat, Form{}, []byte(`{`), cuts["whole"]); got.Unread != "" || got.Model != "gpt" {
		t.Errorf("the path names it: %+v", got)
	}
}

// A little that would become much is read up to a bound, and what was found till then doesn't count: what follows costs nothing.
func TestABombIsReadUpToABound(t *testing.T) {
	body := []byte(`{"model":"free","x":"` + strings.Repeat("y", 8<<20) + `","model":"mock"}`)
	b := packed(newRandom(), body)
	var r RequestReader
	r.Reset(chat, Request{}, NewForm(strings.Replace(b.coding, "bare", "deflate", 1), ""), 1<<20)
	r.Write(b.body)
	if r.decoded > 1<<20+64<<10 {
		t.Errorf("%d bytes were read", r.decoded)
	}
	for _, got := range []Request{r.Cut(), r.Close()} {
		if got.Unread != TooLarge || got.Model != "free" {
			t.Errorf("%+v", got)
		}
	}
}

// fieldsOf makes a body of fields; one named "file" is a file.
func fieldsOf(fields ...string) []byte {
	var b bytes.Buffer
	for i := 0; i < len(fields); i += 2 {
		file := ""
		if fields[i] == "file" {
			file = `; filename="a.wav"` + "\r\nContent-Type: audio/wav"
		}
		b.WriteString("--x-y\r\nContent-Disposition: form-data; name=\"" + fields[i] + `"` + file + "\r\n\r\n" + fields[i+1] + "\r\n")
	}
	b.WriteString("--x-y--\r\n")
	return b.Bytes()
}

// Where servers read a form in different ways, a model can be put where only some see it.
func TestAFormThatServersReadDifferentlyIsUnread(t *testing.T) {
	const d = "Content-Disposition: form-data; "
	free, end := "--b\r\n"+d+"name=\"model\"\r\n\r\nfree\r\n", "--b--\r\n"
	field := func(head string) string { return "--b\r\n" + head + "\r\n\r\nmock\r\n" }
	for name, body := range map[string]string{
		"lines that end with LF alone":          "--b\n" + d + "name=\"x\"\r\n\r\n\n--b\n" + d + "name=\"model\"\n\nmock\n--b\n" + free + end,
		"a head with LF alone":                  field(d+"name=\"x\"\n"+d+"name=\"model\"") + free + end,
		"a boundary inside of a head":           "--bogus\r\n" + d + "name=\"x\"; filename=\"y\"\r\n" + field(d+`name="model"`) + free + end,
		"what begins like a boundary":           free + "--bogus\r\n" + d + "name=\"x\"; filename=\"y\"\r\n" + field(d+`name="model"`) + end,
		"a file without a name":                 field(d+`name="model"; filename=""`) + free + end,
		"two names of a part":                   field(d+"name=\"model\"\r\n"+d+`name="x"`) + free + end,
		"a part that is a file and a field":     field(d+"name=\"model\"; filename=\"x\"\r\n"+d+`name="model"`) + free + end,
		"an encoded name":                       free + field(d+"name*=utf-8''model") + end,
		"a name in pieces":                      free + field(d+`name*0="mo"; name*1="del"`) + end,
		"a name in brackets":                    free + field(d+`name=<model>`) + end,
		"a name with a backslash":               free + field(d+`name="mod\el"`) + end,
		"a head that goes on":                   free + field("Content-Disposition: form-data;\r\n name=\"model\"") + end,
		"a file's name that is another's begin": free + field(d+`name="x"; filename*0="a"`) + end,
	} {
		for how, lengths := range cuts {
			got := readForm("", audio, NewForm("", "multipart/form-data; boundary=b"), []byte(body), lengths)
			if got.Unread == "" {
				t.Errorf("%s, %s: %+v", name, how, got)
			}
		}
	}
	for name, head := range map[string]string{
		"a semicolon in a file's name": d + `name="file"; filename="a; name=model.mp3"`, "a quote": d + `name="file"; filename="a\";name=\"model.mp3"`,
		"a file's name in UTF-8": d + `name="file"; filename="x"; filename*=UTF-8''%e2%82%ac.mp3`, "a list": d + `name="timestamp_granularities[]"`,
		"another order": "Content-Type: text/plain\r\ncontent-disposition: form-data;name=prompt", "no quotes": d + `name=file;filename=model.mp3`,
	} {
		got := readForm("", audio, NewForm("", "multipart/form-data; boundary=b"), []byte(free+field(head)+end), cuts["whole"])
		if got.Unread != "" || got.Model != "free" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTheFieldsOfAFormAreRead(t *testing.T) {
	noise := strings.Repeat("\r\n--x-\r\r\n-", 3000) + "\x00\xff"
	for _, test := range []struct {
		name    string
		dialect *Dialect
		body    []byte
		model   string
		stream  bool
		unread  Unread
		media   int64
	}{
		{"the model first", audio, fieldsOf("model", "mock", "file", noise), "mock", false, "", int64(len(noise))},
		{"the model last", audio, fieldsOf("file", noise, "stream", "true", "model", "mock"), "mock", true, "", int64(len(noise))},
		{"a picture's", images, fieldsOf("prompt", "a cat", "file", "png", "model", "mock"), "mock", false, "", 8},
		{"two models", audio, fieldsOf("model", "free", "model", "mock"), "mock", false, Ambiguous, 0},
		{"no model", audio, fieldsOf("file", "x"), "", false, Missing, 1},
		{"a model as a file", audio, bytes.Replace(fieldsOf("file", "mock"), []byte(`name="file"`), []byte(`name="model"`), 1), "", false, Malformed, 0}, // a field to some
		{"no end", audio, fieldsOf("model", "mock")[:60], "", false, Malformed, 0},
		{"something before it", audio, append([]byte("preamble\r\n"), fieldsOf("model", "mock")...), "", false, Malformed, 0},
		{"not where JSON is usual", chat, fieldsOf("model", "mock"), "", false, Malformed, 0},
	} {
		for how, lengths := range cuts {
			got := readForm("", test.dialect, NewForm("", `multipart/form-data; boundary="x-y"`), test.body, lengths)
			if got.Model != test.model || got.Unread != test.unread || got.Stream != test.stream || got.Prompt.Media != test.media {
				t.Errorf("%s, %s: %+v", test.name, how, got)
			}
		}
	}
}
