package admit

import "testing"

// A body at an operation's path is governed, whatever the method is called; what has none, or opens another protocol, is not read.
func TestABodyIsGovernedWhateverItsMethod(t *testing.T) {
	for _, test := range []struct {
		name    string
		headers [][2]string
		end     bool
		want    bool
	}{
		{"POST", method("POST"), false, true},
		{"POST in small letters", method("post"), false, true},
		{"PUT", method("PUT"), false, true},
		{"a method of one's own", method("GENERATE"), false, true},
		{"a GET with a body", method("GET"), false, true},
		{"an OPTIONS with a body that calls itself a preflight", method("OPTIONS", "origin", "x", "access-control-request-method", "POST"), false, true},
		{"a GET with a body that calls itself a POST", method("GET", "x-http-method-override", "POST"), false, true},
		{"a GET with a body and a claim to upgrade", method("GET", "upgrade", "websocket"), false, true},
		{"a POST that upgrades", method("POST", "upgrade", "websocket", "connection", "Upgrade"), false, true},
		{"a GET", method("GET"), true, false},
		{"a preflight", method("OPTIONS", "origin", "x", "access-control-request-method", "POST"), true, false},
		{"a websocket", method("GET", "upgrade", "websocket", "connection", "keep-alive, Upgrade"), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newSeed(t, "stopIteration")
			x := h.startWith(test.headers, test.end)
			if got := x.dialect != nil; got != test.want {
				t.Errorf("governed: %v", got)
			}
			if got := x.last.Action == Hold; got != test.want {
				t.Errorf("held: %v", got)
			}
		})
	}
}

func method(name string, pairs ...string) [][2]string {
	headers := [][2]string{{":method", name}, {":path", "/v1/chat/completions"}, {"x-user-id", "ann"}}
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, [2]string{pairs[i], pairs[i+1]})
	}
	return headers
}
