package llmsim

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// serveControl answers health checks and the /sim/ endpoints, which neither count
// nor leave a record. It reports whether the request was one of them.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) bool {
	path := r.URL.Path
	health := path == "/healthz" || path == "/health"
	if !health && !strings.HasPrefix(path, "/sim/") {
		return false
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	want := http.MethodGet
	if path == "/sim/reset" {
		want = http.MethodPost
	}
	if r.Method != want && (want != http.MethodGet || r.Method != http.MethodHead) {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return true
	}
	switch path {
	case "/sim/stats":
		writeJSON(w, s.Stats())
	case "/sim/requests":
		writeJSON(w, s.Requests())
	case "/sim/reset":
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	default:
		if !health {
			http.NotFound(w, r)
			return true
		}
		_, _ = io.WriteString(w, "ok\n") // nobody is left to tell about a failed write
	}
	return true
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header()["Content-Type"] = jsonType
	_ = json.NewEncoder(w).Encode(v) // as above: a client that left needs no answer
}
