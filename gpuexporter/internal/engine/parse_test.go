package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

func TestParseServers(t *testing.T) {
	idle := readFile(t, "vllm-0.32.0.txt")
	busy := strings.NewReplacer(
		`vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.0`, `vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.8765432`,
		`vllm:num_requests_running{engine="0",model_name="tiny"} 0.0`, `vllm:num_requests_running{engine="0",model_name="tiny"} 4.0`,
		`vllm:num_requests_waiting{engine="0",model_name="tiny"} 0.0`, `vllm:num_requests_waiting{engine="0",model_name="tiny"} 8.0`,
	).Replace(idle)
	for _, test := range []struct{ name, text, want string }{
		{"vLLM, idle: 0 is a measurement", idle, `[{"name":"","activeDecodeBlocks":0,"running":0,"waiting":0,"ageSeconds":0}]`},
		{"vLLM, after an overload", readFile(t, "vllm-0.32.0-after-overload.txt"), `[{"name":"","activeDecodeBlocks":0,"running":0,"waiting":0,"ageSeconds":0}]`},
		{"vLLM, busy", busy, `[{"name":"","activeDecodeBlocks":0.8765,"running":4,"waiting":8,"ageSeconds":0}]`},
		{"vLLM V0", `vllm:gpu_cache_usage_perc{model_name="m"} 0.5
vllm:num_requests_running{model_name="m"} 3
vllm:num_requests_swapped{model_name="m"} 1
vllm:num_requests_waiting{model_name="m"} 2`, `[{"name":"","activeDecodeBlocks":0.5,"running":3,"waiting":2,"ageSeconds":0}]`},
		{"vLLM, old and new name at once", "vllm:gpu_cache_usage_perc 0.9\nvllm:kv_cache_usage_perc 0.3", `[{"name":"","activeDecodeBlocks":0.3,"ageSeconds":0}]`},
		{"vLLM in Ray", "ray_vllm_kv_cache_usage_perc{engine=\"0\"} 0.25\nray_vllm:num_requests_running 1", `[{"name":"","activeDecodeBlocks":0.25,"running":1,"ageSeconds":0}]`},
		{"vLLM, data-parallel ranks and two models", `vllm:kv_cache_usage_perc{engine="0",model_name="a"} 0.2
vllm:kv_cache_usage_perc{engine="1",model_name="a"} 0.9
vllm:kv_cache_usage_perc{engine="0",model_name="b"} 0.4
vllm:num_requests_running{engine="0",model_name="a"} 1
vllm:num_requests_running{engine="1",model_name="a"} 2
vllm:num_requests_running{engine="0",model_name="b"} 4`, `[{"name":"","activeDecodeBlocks":0.9,"running":7,"ageSeconds":0}]`},
		{"SGLang", readFile(t, "sglang.txt"), `[{"name":"","activeDecodeBlocks":0.28,"running":7,"waiting":2,"ageSeconds":0}]`},
		{"SGLang, every tensor-parallel rank tells the same", `sglang:num_running_reqs{tp_rank="0",dp_rank="0"} 5
sglang:num_running_reqs{tp_rank="1",dp_rank="0"} 5
sglang:num_running_reqs{tp_rank="0",dp_rank="1"} 2
sglang:num_running_reqs{tp_rank="1",dp_rank="1"} 2`, `[{"name":"","running":7,"ageSeconds":0}]`},
		{"TensorRT-LLM", `trtllm_kv_cache_utilization{model_name="m"} 0.62
trtllm_num_requests_running{model_name="m"} 6
trtllm_num_requests_waiting{model_name="m"} 1`, `[{"name":"","activeDecodeBlocks":0.62,"running":6,"waiting":1,"ageSeconds":0}]`},
		{"TensorRT-LLM in Triton, without the fraction", readFile(t, "triton-trtllm.txt"), `[{"name":"","activeDecodeBlocks":0.25,"running":5,"waiting":3,"ageSeconds":0}]`},
		{"TensorRT-LLM in Triton, with it", readFile(t, "triton-trtllm.txt") + `nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.26`, `[{"name":"","activeDecodeBlocks":0.26,"running":5,"waiting":3,"ageSeconds":0}]`},
		{"Dynamo's worker", readFile(t, "dynamo-worker.txt"), `[{"name":"","activeDecodeBlocks":0.61,"running":9,"ageSeconds":0}]`},
		{"Dynamo's worker, older", "dynamo_component_kvstats_active_blocks 30\ndynamo_component_kvstats_total_blocks 120", `[{"name":"","activeDecodeBlocks":0.25,"ageSeconds":0}]`},
		{"Dynamo's worker around vLLM", readFile(t, "dynamo-worker.txt") + "vllm:kv_cache_usage_perc 0.7\n", `[{"name":"","activeDecodeBlocks":0.7,"running":9,"ageSeconds":0}]`},
		{"Dynamo's frontend", readFile(t, "dynamo-frontend.txt"), `[{"name":"101","activeDecodeBlocks":0.5,"activePrefillTokens":1200,"ageSeconds":0},` +
			`{"name":"202","activeDecodeBlocks":1,"activePrefillTokens":0,"ageSeconds":0}]`},
		{"values that can't be", "vllm:kv_cache_usage_perc -1\nvllm:num_requests_running NaN\nvllm:num_requests_waiting 3", `[{"name":"","waiting":3,"ageSeconds":0}]`},
		{"beyond full", "vllm:kv_cache_usage_perc 1.02", `[{"name":"","activeDecodeBlocks":1,"ageSeconds":0}]`},
		{"broken lines beside", "# HELP what ever\n<p>\n{{{ \"\nother{x=} q\nvllm:num_requests_waiting 3", `[{"name":"","waiting":3,"ageSeconds":0}]`},
		{"garbage in a line that counts", "vllm:num_requests_waiting many", ""},
		{"nothing known", "up 1\n", ""},
		{"no text", "", ""},
		{"only impossible values", "vllm:num_requests_waiting NaN", ""},
		{"an endless line", strings.Repeat("x", 1<<17), ""},
		{"an endless line that counts", "vllm:num_requests_waiting{a=\"" + strings.Repeat("x", 1<<17) + "\"} 3", ""},
		{"division by nothing", "dynamo_component_kvstats_active_blocks 30\ndynamo_component_kvstats_total_blocks 0", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			read, err := Parse([]byte(test.text))
			got := read.Instances
			if test.want == "" {
				if err == nil {
					t.Fatalf("no error, but %s", asJSON(t, got))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if text := asJSON(t, got); text != test.want {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
		})
	}
}

// FuzzParse finds that whatever a server answers, a document made of it is one that other exporters accept unchanged.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"vllm-0.32.0.txt", "sglang.txt", "triton-trtllm.txt", "dynamo-frontend.txt", "dynamo-worker.txt"} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("vllm:num_requests_waiting 1e308\nvllm:kv_cache_usage_perc +Inf")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse([]byte(text))
		if err != nil {
			return
		}
		got := r.Instances
		if len(got) == 0 || len(got) > maxInstances {
			t.Fatalf("%d instances and no error", len(got))
		}
		for i := range got {
			got[i].Name = "x/" + got[i].Name
		}
		body, err := json.Marshal(pressure.Document{Version: pressure.Version, Instances: got})
		if err != nil {
			t.Fatal(err)
		}
		read, err := pressure.Decode(body, maxInstances)
		if err != nil || read.Omitted > 0 && len(text) < pressure.MaxName {
			t.Fatalf("%v, %d omitted of %s", err, read.Omitted, body)
		}
		if read.Omitted == 0 && asJSON(t, read.Instances) != asJSON(t, got) {
			t.Errorf("%s was read as %s", asJSON(t, got), asJSON(t, read.Instances))
		}
	})
}

// No line takes along what another one tells: each of these stands beside a good one.
func TestOneOddLineTakesNothingAlong(t *testing.T) {
	const running, waiting = "vllm:num_requests_running", "vllm:num_requests_waiting"
	const skipped = -1
	for _, test := range []struct {
		name, line string
		waiting    int // what it tells; skipped: nothing, and it is counted
	}{
		{"a time in milliseconds", waiting + ` 3 1700000000500`, 3},
		{"OpenMetrics: a time in seconds", waiting + ` 3 1700000000.5`, 3},
		{"OpenMetrics: an exemplar", waiting + `{a="b"} 3 # {trace_id="4bf9"} 0.67`, 3},
		{"OpenMetrics: a time and an exemplar with one", waiting + ` 3 1700000000.5 # {trace_id="}"} 0.67 1700000000.1`, 3},
		{"OpenMetrics: its end", waiting + " 3\n# EOF", 3},
		{"escaped label values", waiting + `{a="b\"}\\",c="\n{"} 3`, 3},
		{"a label value with everything", waiting + `{a="# {x} 7, é"} 3`, 3},
		{"spaces and tabs", "\t " + waiting + " \t{ a = \"b\" , } \t 3 \t", 3},
		{"no space before the value", waiting + `{a="b"}3`, 3},
		{"Windows' ends of lines", waiting + " 3\r", 3},
		{"the same series twice", waiting + "{a=\"b\",c=\"d\"} 3\n" + waiting + "{c=\"d\",a=\"b\"} 3", 3},
		{"a type that nobody knows", "# TYPE " + waiting + " stateset\n" + waiting + " 3", 3},
		{"a type twice", "# TYPE " + waiting + " gauge\n# TYPE " + waiting + " counter\n" + waiting + " 3", 3},
		{"a histogram of that name", "# TYPE " + waiting + " histogram\n" + waiting + "_bucket{le=\"+Inf\"} 7\n" + waiting + "_count 7\n" + waiting + " 3", 3},
		{"an exponent", waiting + " 0.3e1", 3},

		{"no value", waiting, skipped},
		{"text for a value", waiting + " many", skipped},
		{"NaN", waiting + " NaN", skipped},
		{"infinite", waiting + " +Inf", skipped},
		{"negative", waiting + " -1", skipped},
		{"negative and infinite", waiting + " -Inf", skipped},
		{"a value beyond all", waiting + " 1e999", skipped},
		{"text after the value", waiting + " 3 servers", skipped},
		{"text after the time", waiting + " 3 1700000000 x", skipped},
		{"labels without an end", waiting + `{a="b 3`, skipped},
		{"labels without quotes", waiting + `{a=b} 3`, skipped},
		{"a label twice", waiting + `{a="b",a="c"} 3`, skipped},
		{"an escape that is none", waiting + `{a="\x"} 3`, skipped},
		{"no UTF-8", waiting + "{a=\"\xff\xfe\"} 3", skipped},
		{"a NUL in a value", waiting + " 3\x00", skipped},
		{"braces inside of braces", waiting + `{{a="b"}} 3`, skipped},
		{"a name in the braces", waiting + `{"up"} 3`, skipped},
		{"a line without an end", waiting + `{a="` + strings.Repeat("x", 64<<10) + `"} 3`, skipped},
	} {
		t.Run(test.name, func(t *testing.T) {
			good := running + " 5"
			for _, text := range []string{good + "\n" + test.line, test.line + "\n" + good, test.line + "\n" + good + "\n", "\n\n" + test.line + "\n\n" + good + "\r\n"} {
				got, err := Parse([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				want, count := `[{"name":"","running":5,"ageSeconds":0}]`, 1
				if test.waiting != skipped {
					want, count = fmt.Sprintf(`[{"name":"","running":5,"waiting":%d,"ageSeconds":0}]`, test.waiting), 0
				}
				if have := asJSON(t, got.Instances); have != want || got.Skipped != count {
					t.Errorf("%q: got  %s, %d skipped\nwant %s, %d", text, have, got.Skipped, want, count)
				}
			}
		})
	}
}

// What is shown several times counts once, and what is a part of the server counts with the others.
func TestCopiesAndParts(t *testing.T) {
	for label, want := range map[string]int64{
		"tp_rank": 5, "pp_rank": 5, "moe_ep_rank": 5, "pid": 5, "dp_rank": 7, "engine": 7, "model_name": 7,
	} {
		got, err := Parse([]byte(fmt.Sprintf("sglang:num_running_reqs{%s=\"0\"} 5\nsglang:num_running_reqs{%s=\"1\"} 2\n", label, label)))
		if err != nil || *got.Instances[0].Running != want {
			t.Errorf("%s: %s, %v, want %d running", label, asJSON(t, got.Instances), err, want)
		}
	}
}

func TestWhatOneAddressTellsIsBounded(t *testing.T) {
	var text strings.Builder
	for n := range maxInstances + 7 {
		fmt.Fprintf(&text, "dynamo_frontend_worker_waiting_requests{worker_id=\"%05d\"} 1\n", n)
	}
	got, err := Parse([]byte(text.String()))
	if err != nil || len(got.Instances) != maxInstances || got.Omitted != 7 || got.Skipped != 0 {
		t.Errorf("%d servers, %d omitted, %d skipped, %v", len(got.Instances), got.Omitted, got.Skipped, err)
	}
	got, err = Parse([]byte("vllm:num_requests_running 5\n" + strings.Repeat("vllm:num_requests_waiting 1\n", maxSamples+9)))
	if err != nil || len(got.Instances) != 1 || got.Skipped != 10 {
		t.Errorf("%d servers, %d skipped, %v", len(got.Instances), got.Skipped, err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheREADMEHasEveryName(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := strings.ReplaceAll(string(text), ":", "_")
	for name := range known {
		if !strings.Contains(readme, "`"+name) && !strings.Contains(name, "_kvstats_") {
			t.Errorf("nothing of %s", name)
		}
	}
}
