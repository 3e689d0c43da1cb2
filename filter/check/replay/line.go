package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"container/heap"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// line is one request of an access log: the keys that are read, of those that envoy/standalone.yaml writes.
type line struct {
	Time       time.Time `json:"time"` // when the request came
	Path       string    `json:"path"`
	Method     string    `json:"method"`
	Status     number    `json:"status"`
	DurationMS number    `json:"duration_ms"`
	QueueMS    number    `json:"queue_ms"`
	Decision   string    `json:"decision"`
	Priority   string    `json:"priority"`
	Operation  string    `json:"operation"`
	Model      string    `json:"request_model"`
	Prompt     number    `json:"prompt_tokens"`
	Completion number    `json:"completion_tokens"`
	Cached     number    `json:"cached_tokens"`
	Reasoning  number    `json:"reasoning_tokens"`
	User       string    `json:"user"`
	Tenant     string    `json:"tenant"`
	Key        string    `json:"key"`
	Subject    string    `json:"subject"` // of a refusal: user=ann tenant=acme, where the two above are missing
	headers    [][2]string
	order      uint64
}

// number is one that may be written as a text, as Envoy writes what is from filter state.
type number int64

// UnmarshalJSON reads it. What is no number is none.
func (n *number) UnmarshalJSON(text []byte) error {
	value, err := strconv.ParseFloat(strings.Trim(string(text), `"`), 64)
	if err == nil && value > 0 && value < 1e12 {
		*n = number(value)
	}
	return nil
}

// refused says that the filter refused it then.
func (l *line) refused() bool {
	switch l.Decision {
	case "REJECTED", "OPEN", "HALF_OPEN":
		return true
	}
	return false
}

// headerKey begins the keys of headers that limits are per, or match: header:x-session-id.
const headerKey = "header:"

// parse reads a line; false: it isn't one of a request.
func parse(text []byte) (*line, bool) {
	l := &line{}
	if json.Unmarshal(text, l) != nil || l.Time.IsZero() || l.Time.Year() < 1971 || l.Time.Year() > 2200 {
		return nil, false
	}
	if l.User == "" && l.Tenant == "" {
		l.readSubject()
	}
	if bytes.Contains(text, []byte(`"`+headerKey)) {
		l.readHeaders(text)
	}
	return l, true
}

// readSubject takes who asked from the subject of a refusal.
func (l *line) readSubject() {
	for _, part := range strings.Fields(l.Subject) {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "user":
			l.User = value
		case "tenant":
			l.Tenant = value
		}
	}
}

// readHeaders takes the headers that a line has.
func (l *line) readHeaders(text []byte) {
	var all map[string]any
	if json.Unmarshal(text, &all) != nil {
		return
	}
	for key, value := range all {
		name, is := strings.CutPrefix(key, headerKey)
		if text, isText := value.(string); is && isText {
			l.headers = append(l.headers, [2]string{strings.ToLower(name), text})
		}
	}
}

// maxLine is the longest line that is read, in bytes.
const maxLine = 1 << 20

// eachLine calls do with each line of a log, plain or compressed by gzip; with nil for one that is too long.
func eachLine(from io.Reader, do func(text []byte)) error {
	reader := bufio.NewReaderSize(from, 1<<16)
	if magic, err := reader.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unpacked, err := gzip.NewReader(reader)
		if err != nil {
			return err
		}
		reader = bufio.NewReaderSize(unpacked, 1<<16)
	}
	var text []byte
	for {
		var err error
		if text, err = readLine(reader, text[:0]); len(text) > maxLine {
			do(nil)
		} else if len(bytes.TrimSpace(text)) > 0 {
			do(text)
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// readLine appends a line to text. Of one that is too long there is only the beginning, which is too long, too.
func readLine(reader *bufio.Reader, text []byte) ([]byte, error) {
	for {
		piece, err := reader.ReadSlice('\n')
		if len(text) <= maxLine {
			text = append(text, piece...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

// window is how many lines are held to be put in order. Envoy writes a line when its request has ended.
const window = 1 << 15

// sorter gives lines by the time at which their requests came.
type sorter struct {
	held lines
	n    uint64
}

// put takes a line, and gives back the first of those held, if there are enough.
func (s *sorter) put(l *line) *line {
	s.n++
	l.order = s.n
	heap.Push(&s.held, l)
	if len(s.held) <= window {
		return nil
	}
	return s.next()
}

// next gives the first line that is held; nil: there is none.
func (s *sorter) next() *line {
	if len(s.held) == 0 {
		return nil
	}
	return heap.Pop(&s.held).(*line)
}

type lines []*line

func (l lines) Len() int      { return len(l) }
func (l lines) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l *lines) Push(x any)   { *l = append(*l, x.(*line)) }
func (l lines) Less(i, j int) bool {
	return l[i].Time.Before(l[j].Time) || l[i].Time.Equal(l[j].Time) && l[i].order < l[j].order
}
func (l *lines) Pop() any {
	last := (*l)[len(*l)-1]
	*l = (*l)[:len(*l)-1]
	return last
}
