package admin

import "strings"

// Route is one endpoint.
type Route struct {
	Method  string // GET (which serves HEAD, too), POST, PATCH or DELETE
	Pattern string // the path below the surface's, "/" first: a segment "*" stands for any one, "**" at the end for one or more; the handler finds them in Request.Names
	Access  Access
	Body    bool // it has a JSON body
	Handle  Handler
}

// Handler answers a request. What it gives stays as it is until the stream ends: it is not copied.
type Handler func(*Request, *Answer)

// Access says who may come.
type Access uint8

// The ways.
const (
	Reads   Access = iota // who may read: everybody, or who has a token
	Changes               // who has a token
	Open                  // everybody, whoever may read
)

// Request is what an endpoint is asked.
type Request struct {
	Method, Path                   string // Path with its query
	Authority, Authorization       string
	ContentType, Origin, FetchSite string   // content-type, origin, sec-fetch-site
	Match                          string   // if-none-match
	Encoding                       string   // accept-encoding
	Length                         int64    // of the body, as it is announced; -1: it isn't
	Ended                          bool     // no body follows
	Names                          []string // what stands in the path where the pattern has "*", in their order, without escapes
	Body                           []byte
	Who                            string // whose token it has: the first 8 digits of its hash; "": it has none
	route                          *Route
	query                          string
}

// Answer is what comes of it.
type Answer struct {
	Status  int
	Headers [][2]string
	Body    []byte
	Change  string // what was changed, for the log: before and after; "": nothing
}

// segments splits a path below the surface's into its segments, without escapes, behind those of list. It says false if a server might read it in
// another way.
func segments(path string, list []string) (all []string, plain bool) {
	if path == "/" {
		return list, true
	}
	for segment, rest, more := "", path[1:], true; more; {
		segment, rest, more = strings.Cut(rest, "/")
		text, sound := unescape(segment, false)
		if !sound || text == "" || text == "." || text == ".." {
			return nil, false
		}
		list = append(list, text)
	}
	return list, true
}

// unescape takes the escapes out of a segment, or of a query's part, where a plus is a space. It says false for an escape that is none, and for
// bytes that no path has.
func unescape(s string, query bool) (text string, sound bool) {
	if strings.IndexByte(s, '%') < 0 && (!query || strings.IndexByte(s, '+') < 0) && plain(s) {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+2 >= len(s) || !isHexadecimal(s[i+1]) || !isHexadecimal(s[i+2]) {
				return "", false
			}
			b = append(b, digit(s[i+1]|0x20)<<4|digit(s[i+2]|0x20))
			i += 2
		case c == '+' && query:
			b = append(b, ' ')
		case c <= ' ' || c == '#' || c == '\\' || c == 0x7f:
			return "", false
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '#' || c == '\\' || c == 0x7f {
			return false
		}
	}
	return true
}

func isHexadecimal(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// Query gives a parameter of the query, without escapes; "" if it isn't there, or can't be read.
func (r *Request) Query(name string) string {
	for part := range strings.SplitSeq(r.query, "&") {
		key, value, _ := strings.Cut(part, "=")
		if text, sound := unescape(key, true); sound && text == name {
			value, _ = unescape(value, true)
			return value
		}
	}
	return ""
}

// Asks says that the query has a parameter, with a value or without.
func (r *Request) Asks(name string) bool {
	for part := range strings.SplitSeq(r.query, "&") {
		key, _, _ := strings.Cut(part, "=")
		if text, sound := unescape(key, true); sound && text == name {
			return true
		}
	}
	return false
}

// matches says that a path has the pattern, and gives what stands for its "*", and for its "**", which is all that is left of the path.
func (route *Route) matches(path []string, names []string) ([]string, bool) {
	rest := route.Pattern[1:]
	for i, segment := range path {
		var want string
		want, rest, _ = strings.Cut(rest, "/")
		switch {
		case want == "**":
			return append(names, strings.Join(path[i:], "/")), true
		case want == "*":
			names = append(names, segment)
		case want != segment || want == "":
			return nil, false
		case rest == "" && i+1 < len(path):
			return nil, false
		}
	}
	return names, rest == ""
}

// serves says that the route is for the method.
func (route *Route) serves(method string) bool {
	return route.Method == method || route.Method == "GET" && method == "HEAD"
}

func digit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}
