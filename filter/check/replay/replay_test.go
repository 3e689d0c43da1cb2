package replay

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

var begin = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

// asked is a line of a log.
func asked(after time.Duration, user string, more string) string {
	return fmt.Sprintf(`{"time":%q,"method":"POST","path":"/v1/chat/completions","status":200,"duration_ms":1000,"decision":"ALLOWED","priority":"NORMAL","operation":"chat",`+
		`"request_model":"llama-3","prompt_tokens":"20","completion_tokens":"76","total_tokens":"96","user":%q%s}`+"\n", begin.Add(after).Format(time.RFC3339Nano), user, more)
}

func replayed(t *testing.T, configuration string, log io.Reader) string {
	t.Helper()
	cfg, err := config.Parse([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Log(cfg, log, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func wants(t *testing.T, got string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

const perUser = `{"limits": [{"name": "a", "per": ["user"], "unit": "completionTokens", "quantity": 300, "window": "1h"}]}`

// Of answers of 76 tokens four pass, whoever else asks.
func fiveOfAnn() (lines []string) {
	for i := range 6 {
		lines = append(lines, asked(time.Duration(i)*2*time.Second, "ann", ""))
	}
	return append(lines, asked(time.Minute, "bob", ""), asked(3*time.Hour, "ann", ""))
}

func TestLimitsRefuseAsInTheProxy(t *testing.T) {
	t.Parallel()
	wants(t, replayed(t, perUser, strings.NewReader(strings.Join(fiveOfAnn(), ""))),
		"8 requests, from 2026-11-28T09:00:00Z to 2026-11-28T12:00:00Z. 0 lines were left out",
		"Refused would have been 2 (25.0 %), which used 192 tokens; then 0 were.",
		"\nlimits/tokens_exceeded by limit a: 2 refused\n        2  \"user=ann\"\n", "  2026-11-28 09:00        2        7\n")
}

// The order of lines, compression and what else is in a log change nothing.
func TestLogsOfAllKinds(t *testing.T) {
	t.Parallel()
	lines := fiveOfAnn()
	want := replayed(t, perUser, strings.NewReader(strings.Join(lines, "")))
	backwards := ""
	for _, line := range lines {
		backwards = line + backwards
	}
	if got := replayed(t, perUser, strings.NewReader(backwards)); got != want {
		t.Errorf("backwards: %s", got)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = io.WriteString(w, strings.TrimSuffix(strings.Join(lines, ""), "\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, perUser, bytes.NewReader(packed.Bytes())); got != want {
		t.Errorf("packed: %s", got)
	}
	garbage := "[info] hello\n{}\n\n[]\n{\"time\":\"yesterday\"}\n" + strings.Repeat("x", 2*maxLine) + "\n{\"time\": \"9999-01-01T00:00:00Z\"}\n"
	got := replayed(t, perUser, strings.NewReader(garbage+strings.Join(lines, "")))
	if got != strings.Replace(want, " 0 lines", " 6 lines", 1) {
		t.Errorf("with garbage: %s", got)
	}
	cfg, err := config.Parse([]byte(perUser))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Log(cfg, bytes.NewReader(packed.Bytes()[:packed.Len()-9]), &out); err == nil {
		t.Error("no error of a log that breaks off")
	}
}

func TestWhatElseALogTells(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, config string
		lines        []string
		want         []string
	}{
		{"slots", `{"upstreams": [{"name": "u", "concurrency": {"max": 1}, "queue": {"max": 1}}]}`,
			[]string{asked(0, "ann", ""), asked(time.Millisecond, "bob", ""), asked(2*time.Millisecond, "eve", "")},
			[]string{"Refused would have been 1 (33.3 %)", " 1 more would have waited, and passed.", "queue/full: 1 refused"}},
		{"shadow mode", `{"mode": "shadow", "limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "1h"}]}`,
			[]string{asked(0, "ann", ""), asked(time.Second, "bob", "")},
			[]string{"Refused would have been 0 ", " 1 would have been recorded in shadow mode", "0 refused, 1 in shadow mode"}},
		{"what was refused then", `{"limits": [{"name": "a", "unit": "completionTokens", "quantity": 100, "window": "1h"}]}`,
			[]string{asked(0, "ann", ""), asked(2*time.Second, "", `,"decision":"REJECTED","status":429,"completion_tokens":"0","subject":"user=bob"`), asked(4*time.Second, "eve", "")},
			[]string{"then 1 were", "Refused would have been 1 (33.3 %)", "what the 1 that were refused then would have used"}},
		{"headers", `{"limits": [{"name": "a", "per": ["header:x-session-id"], "unit": "requests", "quantity": 1, "window": "1h"}]}`,
			[]string{asked(0, "ann", `,"header:x-session-id":"s1"`), asked(1, "ann", `,"header:x-session-id":"s2"`), asked(2, "ann", `,"header:x-session-id":"s1"`)},
			[]string{"Refused would have been 1 ", `x-session-id=h:`}},
		{"priorities", `{"upstreams": [{"name": "u", "concurrency": {"max": 1}, "queue": {"max": 1, "whenFull": "dropLowest"}}]}`,
			[]string{asked(0, "ann", ""), asked(time.Millisecond, "low", `,"priority":"LOW"`), asked(2*time.Millisecond, "high", `,"priority":"HIGH"`)},
			[]string{"Refused would have been 1 ", " 1 more would have waited"}},
		{"large counts", `{"limits": [{"name": "a", "unit": "totalTokens", "quantity": 50000, "window": "1h"}]}`,
			[]string{asked(0, "a", large), asked(2*time.Second, "b", large), asked(4*time.Second, "c", large)},
			[]string{"Refused would have been 1 (33.3 %), which used 25100 tokens"}},
		{"nobody", perUser, []string{asked(0, "", "")}, []string{"who asked, of 1 requests"}},
		{"the fleet", `{"limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "1h", "scope": "fleet"}]}`,
			[]string{asked(0, "a", ""), asked(1, "b", "")}, []string{"Refused would have been 1 ", "limits of the fleet count all lines together"}},
		{"other APIs", `{"limits": [{"name": "a", "unit": "totalTokens", "quantity": 100, "window": "1h"}]}`,
			[]string{asked(0, "a", `,"operation":"messages"`), asked(2*time.Second, "a", `,"operation":"responses"`), asked(4*time.Second, "a", `,"operation":"models","prompt_tokens":"","completion_tokens":""`), asked(6*time.Second, "a", "")},
			[]string{"Refused would have been 1 "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wants(t, replayed(t, c.config, strings.NewReader(strings.Join(c.lines, ""))), c.want...)
		})
	}
}

const large = `,"prompt_tokens":20000,"cached_tokens":"15000","completion_tokens":"5100","reasoning_tokens":5000`

// endless is a log of so many lines, which is nowhere as a whole.
type endless struct {
	lines, next int
	rest        []byte
}

func (e *endless) Read(into []byte) (int, error) {
	if len(e.rest) == 0 {
		if e.next == e.lines {
			return 0, io.EOF
		}
		e.rest = []byte(asked(time.Duration(e.next)*50*time.Millisecond, fmt.Sprint("user", e.next*7919%5000), ""))
		e.next++
	}
	n := copy(into, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// A line that makes no sense takes no time, nor memory.
func TestLinesOfNonsense(t *testing.T) {
	t.Parallel()
	wants(t, replayed(t, perUser, strings.NewReader(asked(0, "ann", `,"duration_ms":999999999999,"completion_tokens":999999999999,"prompt_tokens":999999999999`)+
		asked(time.Second, "bob", `,"duration_ms":-1,"status":7,"completion_tokens":"many"`)+asked(-50*365*24*time.Hour, "eve", ""))), "3 requests")
}

// A long log takes no more memory than a short one.
func TestMemoryIsFlat(t *testing.T) {
	peak := func(lines int) uint64 {
		log := &watched{endless: endless{lines: lines}}
		replayed(t, perUser, log)
		return log.peak
	}
	if short, long := peak(40_000), peak(120_000); long > 2*short {
		t.Errorf("%d MB at 40,000 lines, %d MB at 120,000", short>>20, long>>20)
	}
}

// watched looks at the memory in use now and then.
type watched struct {
	endless
	reads int
	peak  uint64
}

func (w *watched) Read(into []byte) (int, error) {
	if w.reads++; w.reads%10_000 == 0 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		w.peak = max(w.peak, m.HeapAlloc)
	}
	return w.endless.Read(into)
}

func FuzzLog(f *testing.F) {
	f.Add([]byte(strings.Join(fiveOfAnn(), "")))
	f.Add([]byte(`{"time":"2026-11-28T09:00:00Z","duration_ms":1e300,"status":-1,"operation":"chat","prompt_tokens":999}`))
	f.Fuzz(func(t *testing.T, log []byte) {
		cfg, err := config.Parse([]byte(perUser))
		if err != nil {
			t.Fatal(err)
		}
		_ = Log(cfg, bytes.NewReader(log), io.Discard)
	})
}
