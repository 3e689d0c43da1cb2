package admit

import (
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const plainStream = `{"model":"mock","stream":true,"messages":[]}`

// asked says whether a stream was made to report its usage.
func (h *host) asked(body string, more ...[2]string) (*exchange, bool) {
	x := h.start("ada", false, more...)
	x.body(body, true)
	return x, !x.last.Edit.None()
}

// What its sender has signed goes on as it came.
func TestASignedBodyIsLeftAlone(t *testing.T) {
	for _, test := range []struct {
		name   string
		header [2]string
		signed bool
	}{
		{"no signature", [2]string{"x-other", "a"}, false},
		{"a key", [2]string{"authorization", "Bearer sk-Signature-aws4-hmac"}, false},
		{"a password", [2]string{"authorization", "Basic YXdzOmhtYWM="}, false},
		{"a bare key", [2]string{"authorization", "sk-1234"}, false},
		{"AWS", [2]string{"x-amz-content-sha256", "e3b0c442"}, true},
		{"AWS, by its authorization", [2]string{"authorization", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"}, true},
		{"AWS with elliptic curves", [2]string{"authorization", "AWS4-ECDSA-P256-SHA256 Credential=a, Signature=c"}, true},
		{"AWS, the old way", [2]string{"authorization", "AWS AKID:c2ln"}, true},
		{"a checksum of AWS", [2]string{"x-amz-checksum-crc32", "a"}, true},
		{"Tencent", [2]string{"authorization", "TC3-HMAC-SHA256 Credential=a"}, true},
		{"Oracle", [2]string{"x-content-sha256", "a"}, true},
		{"RFC 9530", [2]string{"content-digest", "sha-256=:a:"}, true},
		{"RFC 9530's other", [2]string{"repr-digest", "sha-256=:a:"}, true},
		{"RFC 3230", [2]string{"digest", "SHA-256=a"}, true},
		{"RFC 1864", [2]string{"content-md5", "a"}, true},
		{"RFC 9421", [2]string{"signature-input", `sig1=("content-digest")`}, true},
		{"its draft", [2]string{"authorization", `Signature keyId="a",headers="digest"`}, true},
		{"a webhook's", [2]string{"x-hub-signature-256", "sha256=a"}, true},
		{"one of one's own", [2]string{"x-signature", "a"}, true},
		{"Hawk, which signs a hash", [2]string{"authorization", `Hawk id="a", ts="1", nonce="b", hash="c", mac="d"`}, true},
		{"a digest of integrity", [2]string{"authorization", `Digest username="a", qop=auth-int, response="b"`}, true},
		{"a digest without", [2]string{"authorization", `Digest username="a", qop=auth, response="b"`}, false},
		{"a longer hash", [2]string{"x-content-sha512", "a"}, true},
		{"Google's", [2]string{"x-goog-hash", "crc32c=a"}, true},
		{"a checksum by its name", [2]string{"content-crc32", "a"}, true},
		{"a code of authentication", [2]string{"x-hmac", "a"}, true},
		{"a hash of a body", [2]string{"x-body-hash", "a"}, true},
		{"a hash of something else", [2]string{"x-session-hash", "a"}, false},
	} {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			h := newHost(t, `{"requestHold":"`+hold+`"}`, recordtest.NewMemory())
			x, edited := h.asked(plainStream, test.header, [2]string{"content-length", strconv.Itoa(len(plainStream))})
			expect(t, test.name+" "+hold, edited, !test.signed)
			for _, step := range x.last.Asked {
				if test.signed && step[0] == "content-length" {
					t.Errorf("%s %s: its length is changed", test.name, hold)
				}
			}
		}
	}
	h := newHost(t, `{"requestHold":"stopIteration"}`, recordtest.NewMemory())
	x := h.startWith([][2]string{{":method", "POST"}, {":path", "/v1/chat/completions?X-Amz-Signature=a"}}, false)
	x.body(plainStream, true)
	expect(t, "signed in the query", x.last.Edit.None(), true)
}

// A header that is signed is left alone, too.
func TestASignedEncodingIsLeftAlone(t *testing.T) {
	for value, left := range map[string]bool{
		"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=accept-encoding;host, Signature=a": true,
		"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=a":                 false,
	} {
		h := newHost(t, `{"requestHold":"stopIteration"}`, recordtest.NewMemory())
		x := h.start("ada", false, [2]string{"accept-encoding", "gzip"}, [2]string{"authorization", value})
		expect(t, value, header(x.last.Asked, "accept-encoding") == "", left)
	}
}

func TestAnUpstreamSaysWhetherItIsAsked(t *testing.T) {
	for _, test := range []struct {
		global, own string
		want        bool
	}{
		{"true", "", true}, {"true", `,"ensureStreamUsage":false`, false}, {"false", `,"ensureStreamUsage":true`, true}, {"false", "", false},
	} {
		h := newHost(t, `{"requestHold":"stopIteration","usage":{"ensureStreamUsage":`+test.global+`},
			"upstreams":[{"name":"a","models":["other*"],"ensureStreamUsage":`+test.global+`},{"name":"b","models":["mock*"]`+test.own+`}]}`, recordtest.NewMemory())
		_, edited := h.asked(plainStream)
		expect(t, test.global+test.own, edited, test.want)
	}
}

const (
	refusesAsking = `{"error":{"message":"Unrecognized request argument supplied: stream_options","type":"invalid_request_error"}}`
	extraField    = `{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted","input":{"include_usage":true}}]}`
	unknownField  = `{"stream_options":["Unknown field."]}`
	unknownInside = `{"error":"json: unknown field \"include_usage\""}`
	echoes        = `{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{"stream_options":{"include_usage":true},"model":"mock"}}]}`
	echoesQuoted  = `{"message":"bad request: {\"model\":\"mock\",\"stream_options\":{\"include_usage\":true}} and {'stream_options': {'include_usage': True}} and stream_options=StreamOptions()"}`
	otherError    = `{"error":{"message":"messages is missing"}}`
)

// fail answers a request with an error, in two pieces.
func (x *exchange) fail(status, body string) {
	x.status(status, "application/json", false)
	x.response(body[:len(body)/2], false)
	x.response(body[len(body)/2:], true)
	x.done()
}

func (x *exchange) succeed() {
	x.status("200", "text/event-stream", false)
	x.response("data: [DONE]\n\n", true)
	x.done()
}

// An upstream that refuses the question is not asked for a while, and then again.
func TestARefusalOfTheQuestionIsLearned(t *testing.T) {
	for _, refusal := range []string{refusesAsking, extraField, unknownField, unknownInside} {
		h := newHost(t, `{"requestHold":"stopIteration"}`, recordtest.NewMemory())
		x, edited := h.asked(plainStream)
		expect(t, "asked at first", edited, true)
		x.fail("400", refusal)
		expect(t, "counted", h.counts["errors stream_options_refused"], 1)
		if _, edited = h.asked(plainStream); edited {
			t.Errorf("asked again after %s", refusal)
		}
		if _, edited = h.asked(strings.Replace(plainStream, "mock", "other", 1)); !edited {
			t.Error("another model isn't asked")
		}
		h.now += clock.Moment(refusalTime)
		if _, edited = h.asked(plainStream); !edited {
			t.Error("never asked again")
		}
	}
}

// Errors that a client provokes don't have the question left out for the others.
func TestAClientsOwnErrorsTeachNothing(t *testing.T) {
	for _, test := range []struct{ status, body string }{
		{"400", echoes}, {"422", echoes}, {"400", echoesQuoted}, {"400", otherError}, {"404", refusesAsking}, {"500", refusesAsking}, {"200", refusesAsking},
	} {
		h := newHost(t, `{"requestHold":"stopIteration"}`, recordtest.NewMemory())
		for range 5 {
			x, _ := h.asked(plainStream)
			x.fail(test.status, test.body)
		}
		if _, edited := h.asked(plainStream); !edited {
			t.Errorf("%s %s is a refusal", test.status, test.body)
		}
	}
	h := newHost(t, `{"requestHold":"stopIteration"}`, recordtest.NewMemory())
	for range 10 { // an upstream that takes the question, and a client that makes it name it
		x, _ := h.asked(plainStream)
		x.succeed()
		for range inARow - 1 {
			x, _ := h.asked(plainStream)
			x.fail("400", refusesAsking)
		}
	}
	if _, edited := h.asked(plainStream); !edited {
		t.Error("errors between successes are a refusal")
	}
	x := h.start("ada", false) // who asks himself is not helped
	x.body(`{"model":"m2","stream":true,"stream_options":{"include_usage":true}}`, true)
	x.fail("400", refusesAsking)
	if _, edited := h.asked(strings.Replace(plainStream, "mock", "m2", 1)); !edited {
		t.Error("an error about a client's own question is a refusal")
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration"}`, recordtest.NewMemory())
	for i := range 3 * mostRefusals {
		x, _ := h.asked(strings.Replace(plainStream, "mock", "m"+strconv.Itoa(i), 1))
		x.fail("400", refusesAsking)
	}
	expect(t, "known", len(h.refusals), mostRefusals)
	x, _ := h.asked(plainStream)
	x.fail("400", strings.Repeat(" ", 3*mostComplaint)+refusesAsking)
	expect(t, "kept of an error", len(x.question.complaint), 0)
}
