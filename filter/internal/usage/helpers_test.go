package usage

// cuts are ways to cut a body of n bytes into pieces: the lengths of the pieces, the last of them repeated.
var cuts = map[string][]int{
	"whole":       {1 << 30},
	"by bytes":    {1},
	"by threes":   {3},
	"by sevens":   {7},
	"irregularly": {1, 0, 2, 13, 5},
}

// pieces hands a body on in pieces. Each is a copy that is spoiled afterwards: nobody may keep it.
func pieces(body []byte, lengths []int, write func([]byte)) {
	for i := 0; len(body) > 0; i++ {
		n := min(lengths[i%len(lengths)], len(body))
		piece := append([]byte(nil), body[:n]...)
		write(piece)
		for j := range piece {
			piece[j] = '"'
		}
		body = body[n:]
	}
}

func readRequest(dialect *Dialect, body []byte, lengths []int) Request {
	return readRequestAt("", dialect, body, lengths)
}

func readRequestAt(path string, dialect *Dialect, body []byte, lengths []int) Request {
	return readForm(path, dialect, Form{}, body, lengths)
}

func readForm(path string, dialect *Dialect, form Form, body []byte, lengths []int) Request {
	var r RequestReader
	r.Reset(dialect, FromPath(dialect, path), form, 1<<20)
	pieces(body, lengths, r.Write)
	return r.Close()
}

// basics are what a request says of itself, without how well it could be read and where its prompt is.
func basics(r Request) Request {
	r.Unread, r.OutputFloor, r.OutputLoose, r.Prompt = "", 0, false, Prompt{}
	return r
}

func readResponse(dialect *Dialect, stream bool, body []byte, lengths []int) Response {
	var r ResponseReader
	r.Reset(dialect, stream)
	pieces(body, lengths, r.Write)
	r.Close()
	return r.Response()
}
