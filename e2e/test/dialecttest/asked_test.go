package dialecttest

import (
	"encoding/json"
	"regexp"
	"strings"
)

// What the filter changes of an exchange, found in another way than the filter's: the server is asked for a stream's usage
// where the client did not ask, and the client does not see the event that comes for it.

// asked is the request as the server gets it, and the response as the client gets it.
func asked(x *exchange) (request, response string) {
	var said struct {
		Stream  bool            `json:"stream"`
		Options json.RawMessage `json:"stream_options"`
	}
	path, _, _ := strings.Cut(x.path, "?")
	if !strings.HasSuffix(path, "/completions") || x.method != "POST" ||
		json.Unmarshal([]byte(x.requestBody), &said) != nil || !said.Stream {
		return x.requestBody, x.responseBody
	}
	const member = `"stream_options":{"include_usage":true},`
	switch include := regexp.MustCompile(`("include_usage"\s*:\s*)(true|false)`).FindStringSubmatch(string(said.Options)); {
	case said.Options == nil:
		request = strings.Replace(x.requestBody, "{", "{"+member, 1)
	case include == nil:
		return x.requestBody, "no recording has options without an answer"
	case include[2] == "true":
		return x.requestBody, x.responseBody
	default:
		request = strings.Replace(x.requestBody, include[0], include[1]+"true", 1)
	}
	if !strings.HasPrefix(x.contentType, "text/event-stream") {
		return request, x.responseBody
	}
	return request, withoutUsage(x.responseBody)
}

var emptyLine = regexp.MustCompile(`\r\n\r\n|\n\n|\r\r`)

// withoutUsage takes the events out whose choices are empty and that have usage.
func withoutUsage(stream string) string {
	var kept strings.Builder
	for len(stream) > 0 {
		end := len(stream)
		if at := emptyLine.FindStringIndex(stream); at != nil {
			end = at[1]
		}
		event := stream[:end]
		stream = stream[end:]
		var said struct {
			Choices []any          `json:"choices"`
			Usage   map[string]any `json:"usage"`
		}
		_, data, found := strings.Cut(event, "data:")
		if found && json.Unmarshal([]byte(data), &said) == nil && len(said.Choices) == 0 && len(said.Usage) > 0 {
			continue
		}
		kept.WriteString(event)
	}
	return kept.String()
}
