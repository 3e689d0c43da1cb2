package pressure

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestDecode(t *testing.T) {
	list := func(instances string) string {
		return `{"version":1,"time":"2026-01-02T03:04:05Z","instances":[` + instances + `]}`
	}
	long := strings.Repeat("n", MaxName+1)
	for _, test := range []struct{ name, body, want string }{
		{"the documented example", list(`{"name":"a","gpus":[{"uuid":"GPU-1","memoryUsedBytes":1,"memoryTotalBytes":2,"utilization":0.5,"throttled":false}],` +
			`"activeDecodeBlocks":0.42,"activePrefillTokens":1200,"running":3,"waiting":0,"ageSeconds":0.4}`),
			`{"name":"a","gpus":[{"uuid":"GPU-1","memoryUsedBytes":1,"memoryTotalBytes":2,"utilization":0.5,"throttled":false}],` +
				`"activeDecodeBlocks":0.42,"activePrefillTokens":1200,"running":3,"waiting":0,"ageSeconds":0.4}`},
		{"absent stays absent", list(`{"name":"a","ageSeconds":1}`), `{"name":"a","ageSeconds":1}`},
		{"null is absent", list(`{"name":"a","running":null,"gpus":null,"ageSeconds":1}`), `{"name":"a","ageSeconds":1}`},
		{"unknown members", list(`{"name":"a","ageSeconds":1,"later":{"x":[1]}}`), `{"name":"a","ageSeconds":1}`},
		{"impossible numbers", list(`{"name":"a","activeDecodeBlocks":-0.1,"activePrefillTokens":-1,"running":9007199254740993,"waiting":1,"ageSeconds":1,` +
			`"gpus":[{"uuid":"g","utilization":-1,"memoryTotalBytes":0,"memoryUsedBytes":18446744073709551615,"ageSeconds":-2}]}`),
			`{"name":"a","gpus":[{"uuid":"g"}],"waiting":1,"ageSeconds":1}`},
		{"beyond full", list(`{"name":"a","activeDecodeBlocks":17,"ageSeconds":0}`), `{"name":"a","activeDecodeBlocks":1,"ageSeconds":0}`},
		{"unusable instances", list(`{"name":"","ageSeconds":0},{"name":"a\u0000","ageSeconds":0},{"name":"` + long + `","ageSeconds":0},{"name":"b","ageSeconds":-1},{"name":"c","ageSeconds":2}`),
			`{"name":"c","ageSeconds":2}`},
		{"none", list(``), ``},
		{"beyond the bound", list(`{"name":"a","ageSeconds":0},{"name":"b","ageSeconds":0},{"name":"c","ageSeconds":0},{"name":"d","ageSeconds":0}`),
			`{"name":"a","ageSeconds":0},{"name":"b","ageSeconds":0},{"name":"c","ageSeconds":0}`},

		{"an instance that can't be read, beside others", list(`{"name":"a","running":"3","ageSeconds":0},{"name":"b","running":1.5,"ageSeconds":0},` +
			`{"name":"c","activeDecodeBlocks":1e999,"ageSeconds":0},7,null,{"name":"d","ageSeconds":1}`), `{"name":"d","ageSeconds":1}`},
		{"a GPU that can't be read, beside others", list(`{"name":"a","ageSeconds":0,"gpus":[{"uuid":"g","memoryUsedBytes":-1},{"uuid":7},null,[],{"uuid":"h"}]}`),
			`{"name":"a","gpus":[{"uuid":"h"}],"ageSeconds":0}`},
		{"GPUs that aren't a list", list(`{"name":"a","ageSeconds":0,"gpus":{"uuid":"g"}}`), `{"name":"a","ageSeconds":0}`},
		{"a GPU that is told twice", list(`{"name":"a","ageSeconds":0,"gpus":[{"uuid":"g","utilization":0.1},{"uuid":"g","utilization":0.9}]}`),
			`{"name":"a","gpus":[{"uuid":"g","utilization":0.1}],"ageSeconds":0}`},
		{"a time that is none, and a count that is none", `{"version":1,"time":"soon","omitted":"many","instances":[{"name":"a","ageSeconds":0}]}`,
			`{"name":"a","ageSeconds":0}`},

		{"more than anybody has", list(strings.Repeat("{},", maxListed) + "{}"), "error"},
		{"instances that aren't a list", `{"version":1,"instances":{"name":"a"}}`, "error"},
		{"another version", `{"version":2,"instances":[]}`, "error"},
		{"no version", `{"instances":[]}`, "error"},
		{"no list", `{"version":1}`, "error"},
		{"cut off", list(`{"name":"a"`), "error"},
		{"two documents", list(``) + list(``), "error"},
		{"not JSON", `<html>`, "error"},
		{"nothing", ``, "error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := Decode([]byte(test.body), 3)
			if test.want == "error" {
				if err == nil {
					t.Fatal("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(d.Instances)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != "["+test.want+"]" {
				t.Errorf("got  %s\nwant [%s]", got, test.want)
			}
		})
	}
}

func TestDecodeCountsWhatItLeavesOut(t *testing.T) {
	d, err := Decode([]byte(`{"version":1,"omitted":7,"instances":[{"name":"a"},{"name":""},{"name":"b"}]}`), 1)
	if err != nil || d.Omitted != 9 || len(d.Instances) != 1 {
		t.Errorf("%+v, %v: want 9 omitted", d, err)
	}
}

// FuzzDecode finds that whatever a peer answers, what is kept of it is a document that is read unchanged again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"time":"2026-01-02T03:04:05Z","instances":[{"name":"a","gpus":[{"uuid":"GPU-1","memoryUsedBytes":1,"memoryTotalBytes":2,` +
		`"utilization":0.5,"throttled":false,"lost":true,"ageSeconds":1}],"activeDecodeBlocks":0.42,"activePrefillTokens":1200,"running":3,"waiting":0,"ageSeconds":0.4}]}`))
	f.Add([]byte(`{"version":1,"omitted":-5,"instances":[{"name":"\ud800","ageSeconds":1e300}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := Decode(body, 100)
		if err != nil {
			return
		}
		if len(d.Instances) > 100 || d.Omitted < 0 {
			t.Fatalf("%d instances, %d omitted", len(d.Instances), d.Omitted)
		}
		first, err := json.Marshal(d)
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		again, err := Decode(first, 100)
		if err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		if second, _ := json.Marshal(again); string(second) != string(first) {
			t.Errorf("%s was read as %s", first, second)
		}
	})
}

func TestSeconds(t *testing.T) {
	for age, want := range map[time.Duration]string{-time.Second: "0", 400 * time.Millisecond: "0.4", 1234567 * time.Microsecond: "1.235"} {
		if got := fmt.Sprint(Seconds(age)); got != want {
			t.Errorf("Seconds(%v) = %s, want %s", age, got, want)
		}
	}
}

func TestShareAndCountOfWhatWasMeasured(t *testing.T) {
	text := func(v any) string {
		written, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(written)
	}
	for _, test := range []struct {
		value        float64
		share, count string
	}{
		{0, "0", "0"}, {0.00004, "0", "0"}, {0.00005, "0.0001", "0"}, {0.5, "0.5", "1"}, {0.123456, "0.1235", "0"}, {1, "1", "1"},
		{1.2, "1", "1"}, {7.4, "1", "7"}, {maxCount, "1", "9007199254740992"}, {2 * maxCount, "1", "null"},
		{-0.1, "null", "null"}, {math.NaN(), "null", "null"}, {math.Inf(1), "null", "null"}, {math.Inf(-1), "null", "null"},
	} {
		if share, count := text(Share(test.value)), text(Count(test.value)); share != test.share || count != test.count {
			t.Errorf("%v: share %s and count %s, want %s and %s", test.value, share, count, test.share, test.count)
		}
	}
}
