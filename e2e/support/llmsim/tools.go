package llmsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// pieceLen is how many characters of a call's arguments make a token.
const pieceLen = 4

// toolCall is a call of a tool. Its name counts as one token, and so does each piece
// of its arguments. Both are kept as they stand inside a JSON string.
type toolCall struct {
	name   string
	pieces []string
	input  string // the arguments as they were given, a JSON object
}

// arguments are the whole arguments, a JSON object inside a JSON string.
func (t toolCall) arguments() string { return strings.Join(t.pieces, "") }

// setToolCalls reads [{"name": "...", "arguments": {...}}, ...].
func setToolCalls(s *script, v string) error {
	var calls []struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	d := json.NewDecoder(strings.NewReader(v))
	d.DisallowUnknownFields()
	if err := d.Decode(&calls); err != nil {
		return fmt.Errorf(`not a list of {"name": "...", "arguments": {...}}: %w`, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the list")
	}
	if len(calls) == 0 {
		return errors.New("the list is empty")
	}
	s.calls = nil
	for _, c := range calls {
		var text bytes.Buffer
		if c.Name == "" || len(c.Arguments) == 0 || c.Arguments[0] != '{' {
			return errors.New("each call needs a name, and arguments, which are an object")
		}
		if err := json.Compact(&text, c.Arguments); err != nil {
			return err
		}
		call := toolCall{name: jsonEscape(c.Name), input: text.String()}
		for piece := range slices.Chunk([]rune(text.String()), pieceLen) {
			call.pieces = append(call.pieces, jsonEscape(string(piece)))
		}
		s.calls = append(s.calls, call)
	}
	return nil
}

// countCalls is how many tokens the calls have.
func countCalls(calls []toolCall) (tokens int) {
	for _, call := range calls {
		tokens += 1 + len(call.pieces)
	}
	return tokens
}

// cutCalls leaves the first n tokens of the calls.
func cutCalls(calls []toolCall, n int) []toolCall {
	for k, call := range calls {
		if n <= 0 {
			return calls[:k]
		}
		if n <= len(call.pieces) {
			cut := slices.Clone(calls[:k+1]) // the script's own stay whole
			cut[k].pieces = call.pieces[:n-1]
			return cut
		}
		n -= 1 + len(call.pieces)
	}
	return calls
}

// name is what a tool is called by: in a chat it stands one level deeper.
func (t tool) name() string {
	if t.Function.Name != "" {
		return t.Function.Name
	}
	return t.Name
}

// missingTool finds a scripted call of a tool that the request does not offer.
func (c *call) missingTool() *apiError {
	for _, call := range c.script.calls {
		if !slices.ContainsFunc(c.req.Tools, func(t tool) bool { return jsonEscape(t.name()) == call.name }) {
			return badRequest("tools", "the scripted answer calls a tool that the request does not offer: "+call.name)
		}
	}
	return nil
}

// callAt finds the i-th token of the calls: a piece of the arguments, or the name,
// which is piece -1.
func (g *generation) callAt(i int) (call, piece int) {
	for k, c := range g.calls {
		if i <= len(c.pieces) {
			return k, i - 1
		}
		i -= 1 + len(c.pieces)
	}
	return len(g.calls), -1
}

// appendPartID appends a string with the id of a part of the answer.
func (g *generation) appendPartID(b []byte, prefix string, part int) []byte {
	b = append(append(b, '"'), prefix...)
	b = append(b, g.id[bytes.IndexByte(g.id, '-')+1:]...)
	return append(appendInt(b, "_", part), '"')
}

// appendChatCalls appends the calls of a chat's message.
func (g *generation) appendChatCalls(b []byte) []byte {
	b = append(b, `,"tool_calls":[`...)
	for k, call := range g.calls {
		if k > 0 {
			b = append(b, ',')
		}
		b = g.appendPartID(append(b, `{"id":`...), "call_", k)
		b = append(b, `,"type":"function","function":{"name":"`+call.name+`","arguments":"`+call.arguments()+`"}}`...)
	}
	return append(b, ']')
}

// appendChatCallToken appends what a chat's delta has of the i-th token of the calls.
func (g *generation) appendChatCallToken(b []byte, i int) []byte {
	k, piece := g.callAt(i)
	b = appendInt(b, `"tool_calls":[{"index":`, k)
	if piece < 0 {
		b = g.appendPartID(append(b, `,"id":`...), "call_", k)
		return append(b, `,"type":"function","function":{"name":"`+g.calls[k].name+`","arguments":""}}]`...)
	}
	return append(b, `,"function":{"arguments":"`+g.calls[k].pieces[piece]+`"}}]`...)
}
