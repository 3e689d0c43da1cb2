package usage

import (
	"strings"
	"testing"
)

// A server may understand more of a bound than OpenAI's own does: the largest that any would counts.
func TestABoundIsTheLargestThatALenientServerUnderstands(t *testing.T) {
	const beyond = mostBound
	long := strings.Repeat("0", 70)
	for _, test := range []struct {
		name    string
		dialect *Dialect
		body    string
		want    int64
	}{
		{"as text", chat, `{"max_tokens":"5000"}`, 5000},
		{"as text with blanks", chat, `{"max_tokens":" 5000 "}`, 5000},
		{"as text with a sign", chat, `{"max_tokens":"+5000"}`, 5000},
		{"as text with underscores", chat, `{"max_tokens":"5_000"}`, 5000},
		{"as text with a point", chat, `{"max_tokens":"5000.0"}`, 5000},
		{"as text with an exponent", chat, `{"max_tokens":"5e3"}`, 5000},
		{"as text in digits of another script", chat, `{"max_tokens":"５０００"}`, beyond},
		{"as text too long to be kept", chat, `{"max_tokens":"` + long + `5000"}`, beyond},
		{"as text that is no number", chat, `{"max_tokens":"many"}`, 0},
		{"with an exponent", chat, `{"max_tokens":5e3}`, 5000},
		{"with a point", chat, `{"max_tokens":5000.0}`, 5000},
		{"of more digits than are kept", chat, `{"max_tokens":0.` + long + `5e74}`, beyond},
		{"without end", chat, `{"max_tokens":Infinity}`, beyond},
		{"that is no number", chat, `{"max_tokens":NaN}`, 0},
		{"repeated", chat, `{"max_tokens":5000,"max_tokens":5}`, 5000},
		{"in another case", chat, `{"max_tokens":5,"Max_Tokens":5000}`, 5000},
		{"with a Kelvin sign", chat, "{\"max_to\u212aens\":5000}", 5000},
		{"with escapes in its name", chat, `{"max\u005ftokens":5000}`, 5000},
		{"by both names", chat, `{"max_completion_tokens":"5000","max_tokens":5}`, 5000},
		{"by llama.cpp's name", chat, `{"max_tokens":5,"n_predict":5000}`, 5000},
		{"null beside one", chat, `{"max_tokens":null,"max_completion_tokens":7}`, 7},
		{"negative beside one, which is none to some", chat, `{"max_tokens":-1,"max_completion_tokens":7}`, 0},
		{"negative as text", chat, `{"max_tokens":"-1"}`, 0},
		{"raised by the fewest", chat, `{"max_tokens":5,"min_tokens":5000}`, 5000},
		{"not made up from the fewest", chat, `{"min_tokens":1}`, 0},
		{"of choices as text", chat, `{"max_tokens":10,"n":"5"}`, 50},
		{"of choices with an exponent", chat, `{"max_tokens":10,"n":1e1}`, 100},
		{"of choices with a point", chat, `{"max_tokens":10,"n":5.0}`, 50},
		{"of repeated choices", chat, `{"max_tokens":10,"n":5,"n":1}`, 50},
		{"of the best of several", completions, `{"max_tokens":10,"best_of":7,"n":2}`, 70},
		{"of the best of several, as text", completions, `{"max_tokens":10,"best_of":"7"}`, 70},
		{"of beams", completions, `{"max_tokens":10,"use_beam_search":true,"n":4}`, 40},
		{"of several prompts", completions, `{"prompt":["a","b","c"],"max_tokens":10}`, 30},
		{"of several prompts and choices", completions, `{"prompt":["a","b","c"],"max_tokens":10,"n":2}`, 60},
		{"of several prompts of tokens", completions, `{"max_tokens":10,"prompt":[[1,2],[3]]}`, 20},
		{"of one prompt of tokens", completions, `{"prompt":[1,2,3],"max_tokens":10}`, 10},
		{"of prompts as vectors", completions, `{"prompt_embeds":["x","y"],"max_tokens":10}`, 20},
		{"of repeated prompts", completions, `{"prompt":["a","b","c"],"prompt":["a"],"max_tokens":10}`, 30},
		{"of several chats", chat, `{"messages":[[{"role":"user"}],[{"role":"user"}],[]],"max_tokens":10}`, 30},
		{"of one chat", chat, `{"messages":[{"role":"user"},{"role":"user"}],"max_tokens":10}`, 10},
		{"of prompts where chats and completions are told by the body", chat, `{"prompt":["a","b"],"max_tokens":10}`, 20},
		{"of Responses as text", responses, `{"max_output_tokens":"5000"}`, 5000},
		{"of Anthropic's as text", messages, `{"max_tokens":"5000"}`, 5000},
		{"of thinking above the rest", messages, `{"max_tokens":1000,"thinking":{"type":"enabled","budget_tokens":5000}}`, 5000},
		{"of Gemini's as text", gemini, `{"generationConfig":{"maxOutputTokens":"5000"}}`, 5000},
		{"of Gemini's in the other spelling", gemini, `{"generation_config":{"maxOutputTokens":"5000"}}`, 5000},
		{"of Gemini's in mixed spellings", gemini, `{"generationConfig":{"max_output_tokens":5000}}`, 5000},
		{"of Gemini's candidates as text", gemini, `{"generationConfig":{"maxOutputTokens":10,"candidateCount":"4"}}`, 40},
		{"as a list, which nobody understands", chat, `{"max_tokens":[5000]}`, 0},
	} {
		for how, lengths := range cuts {
			got := readRequest(test.dialect, []byte(test.body), lengths)
			if !got.Read || got.OutputBound != test.want {
				t.Errorf("%s, %s: read %v, bound %d, want %d", test.name, how, got.Read, got.OutputBound, test.want)
			}
		}
	}
}

// A bound that only some servers heed binds nobody.
func TestABoundThatNotEveryServerHeedsIsLoose(t *testing.T) {
	for _, test := range []struct {
		name    string
		dialect *Dialect
		body    string
		loose   bool
	}{
		{"a number", chat, `{"max_tokens":5,"messages":[]}`, false},
		{"both names", chat, `{"max_tokens":5,"max_completion_tokens":7}`, false},
		{"null beside one", chat, `{"max_tokens":null,"max_completion_tokens":7}`, false},
		{"Responses", responses, `{"max_output_tokens":5}`, false},
		{"Anthropic", messages, `{"max_tokens":5}`, false},
		{"Gemini", gemini, `{"generationConfig":{"maxOutputTokens":5}}`, false},
		{"text, which llama.cpp ignores", chat, `{"max_tokens":"5"}`, true},
		{"another one for a fallback", chat, `{"max_tokens":5,"fallbacks":[{"model":"b","max_tokens":500}]}`, true},
		{"another case, which Python ignores", chat, `{"MAX_TOKENS":5}`, true},
		{"another case of Gemini's object", gemini, `{"GenerationConfig":{"maxOutputTokens":5}}`, true},
		{"llama.cpp's name, which others ignore", chat, `{"n_predict":5}`, true},
		{"null behind one", chat, `{"max_tokens":5,"max_tokens":null}`, true},
		{"null before one", chat, `{"max_tokens":null,"max_tokens":5}`, true},
		{"text behind one", chat, `{"max_tokens":5,"max_tokens":"x"}`, true},
		{"an object behind one", messages, `{"max_tokens":5,"max_tokens":{}}`, true},
		{"an empty object behind Gemini's", gemini, `{"generationConfig":{"maxOutputTokens":5},"generationConfig":{}}`, true},
		{"no JSON", chat, `{"max_tokens":5,/**/"max_tokens":null}`, true},
	} {
		for how, lengths := range cuts {
			if got := readRequest(test.dialect, []byte(test.body), lengths); got.OutputLoose != test.loose || got.OutputBound == 0 {
				t.Errorf("%s, %s: loose %v, bound %d", test.name, how, got.OutputLoose, got.OutputBound)
			}
		}
	}
	var r RequestReader
	r.Reset(chat, Request{}, Form{}, 1<<20)
	r.Write([]byte(`{"max_tokens":5,`))
	if got := r.Cut(); !got.OutputLoose {
		t.Errorf("cut before its end: %+v", got)
	}
}

func TestTheFewestTokensAreAFloor(t *testing.T) {
	if got := readRequest(chat, []byte(`{"min_tokens":"700"}`), cuts["whole"]); got.OutputFloor != 700 || got.OutputBound != 0 {
		t.Errorf("floor %d, bound %d", got.OutputFloor, got.OutputBound)
	}
}

// What a body's bytes can teach of tokens is only known where the whole prompt is text in it.
func TestOnlyAPromptOfTextInTheBodyTeaches(t *testing.T) {
	picture := strings.Repeat("iVBORw0K", 2000) // 16,000 bytes
	const learns = true
	for _, test := range []struct {
		name    string
		dialect *Dialect
		body    string
		teaches bool
		images  int64
		media   int64 // bytes
	}{
		{"text", chat, `{"messages":[{"role":"user","content":"hi"}]}`, learns, 0, 0},
		{"text in parts", chat, `{"messages":[{"content":[{"type":"text","text":"hi"}]}]}`, learns, 0, 0},
		{"a picture inline", chat, `{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` + picture + `"}}]}]}`, false, 1, 0},
		{"a picture inline, in another case", chat, `{"messages":[{"content":[{"image_url":"DATA:image/png;base64,AAAA"}]}]}`, false, 1, 0},
		{"a picture by URL", chat, `{"messages":[{"content":[{"image_url":{"url":"https://x/y.png"}}]}]}`, false, 1, 0},
		{"sound inline", chat, `{"messages":[{"content":[{"input_audio":{"data":"` + picture + `","format":"wav"}}]}]}`, false, 0, 16_000},
		{"a film by URL", chat, `{"messages":[{"content":[{"video_url":{"url":"http://x/y"}}]}]}`, false, 0, 0},
		{"a document inline", chat, `{"messages":[{"content":[{"file":{"file_data":"` + picture + `"}}]}]}`, false, 0, 16_000},
		{"a document by id", chat, `{"messages":[{"content":[{"file":{"file_id":"file-1"}}]}]}`, false, 0, 0},
		{"a search", chat, `{"web_search_options":{}}`, false, 0, 0},
		{"functions", chat, `{"messages":[{"content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}]}`, learns, 0, 0},
		{"Responses' text", responses, `{"input":"hi","previous_response_id":null,"tools":[{"type":"function"}]}`, learns, 0, 0},
		{"a response before", responses, `{"input":"hi","previous_response_id":"resp_1"}`, false, 0, 0},
		{"a conversation", responses, `{"input":"hi","conversation":"conv_1"}`, false, 0, 0},
		{"a conversation as object", responses, `{"input":"hi","conversation":{"id":"conv_1"}}`, false, 0, 0},
		{"a stored prompt", responses, `{"prompt":{"id":"pmpt_1"}}`, false, 0, 0},
		{"an item by id", responses, `{"input":[{"type":"item_reference","id":"x"}]}`, false, 0, 0},
		{"a server's own tool", responses, `{"input":"hi","tools":[{"type":"web_search"}]}`, false, 0, 0},
		{"Responses' picture", responses, `{"input":[{"content":[{"type":"input_image","image_url":"data:image/png;base64,` + picture + `"}]}]}`, false, 1, 0},
		{"Responses' picture by id", responses, `{"input":[{"content":[{"type":"input_image","file_id":"file-1"}]}]}`, false, 0, 0},
		{"Responses' reasoning", responses, `{"input":[{"type":"reasoning","encrypted_content":"` + picture + `"}]}`, false, 0, 16_000},
		{"Anthropic's text", messages, `{"messages":[{"content":[{"type":"text","text":"hi"}]}],"tools":[{"name":"f"},{"type":"custom"}]}`, learns, 0, 0},
		{"Anthropic's picture", messages, `{"messages":[{"content":[{"source":{"type":"base64","media_type":"image/png","data":"` + picture + `"}}]}]}`, false, 1, 0},
		{"Anthropic's picture, its type behind it", messages, `{"messages":[{"content":[{"source":{"data":"` + picture + `","media_type":"image/png"}}]}]}`, false, 1, 0},
		{"Anthropic's document", messages, `{"messages":[{"content":[{"source":{"type":"base64","media_type":"application/pdf","data":"` + picture + `"}}]}]}`, false, 0, 16_000},
		{"Anthropic's document of text", messages, `{"messages":[{"content":[{"source":{"type":"text","media_type":"text/plain","data":"hi"}}]}]}`, learns, 0, 0},
		{"Anthropic's picture by URL", messages, `{"messages":[{"content":[{"source":{"type":"url","url":"https://x"}}]}]}`, false, 0, 0},
		{"a tool's picture", messages, `{"messages":[{"content":[{"type":"tool_result","content":[{"source":{"media_type":"image/png","data":"` + picture + `"}}]}]}]}`, false, 1, 0},
		{"Anthropic's search", messages, `{"tools":[{"type":"web_search_20250305","name":"web_search"}]}`, false, 0, 0},
		{"Gemini's text", gemini, `{"contents":[{"parts":[{"text":"hi"}]}],"tools":[{"functionDeclarations":[]}]}`, learns, 0, 0},
		{"cached content", gemini, `{"cachedContent":"cachedContents/1"}`, false, 0, 0},
		{"Gemini's picture", gemini, `{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"` + picture + `"}}]}]}`, false, 1, 0},
		{"Gemini's sound", gemini, `{"contents":[{"parts":[{"inlineData":{"data":"` + picture + `","mimeType":"audio/wav"}}]}]}`, false, 0, 16_000},
		{"Gemini's file", gemini, `{"contents":[{"parts":[{"fileData":{"fileUri":"https://x"}}]}]}`, false, 0, 0},
		{"Gemini's search", gemini, `{"tools":[{"googleSearch":{}}]}`, false, 0, 0},
	} {
		for how, lengths := range cuts {
			got := readRequest(test.dialect, []byte(test.body), lengths)
			p := got.Prompt
			if got.Teaches() != test.teaches || p.Images != test.images || p.Media != test.media {
				t.Errorf("%s, %s: teaches %v, %+v", test.name, how, got.Teaches(), p)
			}
			if p.Text < 0 || p.Text > 400 {
				t.Errorf("%s, %s: %d bytes of text", test.name, how, p.Text)
			}
		}
	}
}

// A body that is cut inside of a picture is not taken for a text of its announced length.
func TestAnOpenPictureIsNotText(t *testing.T) {
	body := `{"model":"a","messages":[{"content":[{"image_url":{"url":"data:image/png;base64,` + strings.Repeat("A", 60_000)
	var r RequestReader
	r.Reset(chat, Request{}, Form{}, 1<<20)
	r.Write([]byte(body))
	got := r.Cut()
	if text := TextBytes(chat, got, 5_000_000); got.Model != "a" || got.Unread != "" || text > 30_000 {
		t.Errorf("%d bytes of text: %+v", text, got)
	}
	r.Reset(chat, Request{}, Form{}, 1<<20)
	r.Write([]byte(strings.Replace(body, "data:image/png", "a text: hello ", 1)[:60] + `"}}]},{"content":"`))
	if text := TextBytes(chat, r.Cut(), 5_000_000); text < 4_900_000 {
		t.Errorf("text is not text: %d bytes", text)
	}
}
