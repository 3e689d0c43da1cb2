package engine

// meaning is what a metric tells about a server.
type meaning int

const (
	kvShare meaning = iota
	prefillTokens
	running
	waiting
	meanings
)

// A server's metrics carry labels for several ranks, models and processes. How they become one number:
//
//   - Series that differ only in a label of copies show the same thing several times: the largest counts.
//   - What remains (data-parallel ranks, models) are parts of one server. Requests and tokens are summed. Of KV caches the
//     fullest counts: a request may land there, and that part evicts first.
//   - A metric with a label of splitLabels speaks for several servers, and makes one instance for each.
var copyLabels = map[string]bool{"tp_rank": true, "pp_rank": true, "moe_ep_rank": true, "pid": true}

// metric is one way in which a server tells something. Names are written with "_" for ":" (vLLM and SGLang use colons, which
// some collectors replace) and without Ray's prefix.
type metric struct {
	meaning meaning
	name    string
	labels  map[string]string // the series to take: these labels with these values
	// of is the metric that this one has to be divided by, with ofLabels; "" if the value is used as it is.
	of       string
	ofLabels map[string]string
	// split is the label whose values are servers of their own.
	split string
}

// metrics are all names that are understood, the most telling first: of those with the same meaning, the first that a
// server has is used. A server that runs inside of Dynamo shows its own metrics beside Dynamo's.
//
// Sources: vLLM 0.32.0 itself, and for its older names its release notes; documentation of SGLang ("Production Metrics"),
// TensorRT-LLM (trtllm-serve), its Triton backend, and NVIDIA Dynamo ("Metrics Catalog").
var metrics = []metric{
	// vLLM. V1 renamed the KV cache's gauge; both are shares, whatever their names say.
	{meaning: kvShare, name: "vllm_kv_cache_usage_perc"},
	{meaning: kvShare, name: "vllm_gpu_cache_usage_perc"},
	{meaning: running, name: "vllm_num_requests_running"},
	{meaning: waiting, name: "vllm_num_requests_waiting"},

	// SGLang.
	{meaning: kvShare, name: "sglang_token_usage"},
	{meaning: running, name: "sglang_num_running_reqs"},
	{meaning: waiting, name: "sglang_num_queue_reqs"},

	// TensorRT-LLM's own server.
	{meaning: kvShare, name: "trtllm_kv_cache_utilization"},
	{meaning: running, name: "trtllm_num_requests_running"},
	{meaning: waiting, name: "trtllm_num_requests_waiting"},

	// TensorRT-LLM in Triton. Older backends don't have the fraction.
	{meaning: kvShare, name: "nv_trt_llm_kv_cache_block_metrics", labels: blocks("fraction")},
	{
		meaning: kvShare, name: "nv_trt_llm_kv_cache_block_metrics", labels: blocks("used"),
		of: "nv_trt_llm_kv_cache_block_metrics", ofLabels: blocks("max"),
	},
	{meaning: running, name: "nv_trt_llm_request_metrics", labels: map[string]string{"request_type": "scheduled"}},
	{meaning: waiting, name: "nv_trt_llm_request_metrics", labels: map[string]string{"request_type": "waiting"}},

	// Dynamo's worker: the runtime's own gauges.
	{meaning: kvShare, name: "dynamo_component_gpu_cache_usage_percent"},
	{meaning: kvShare, name: "dynamo_component_kvstats_gpu_cache_usage_percent"},
	{
		meaning: kvShare, name: "dynamo_component_kvstats_active_blocks",
		of: "dynamo_component_kvstats_total_blocks",
	},
	{meaning: running, name: "dynamo_component_inflight_requests", labels: map[string]string{"dynamo_endpoint": "generate"}},

	// Dynamo's frontend, which speaks for all workers, by the numbers of the busy rule itself.
	{
		meaning: kvShare, name: "dynamo_frontend_worker_active_decode_blocks", split: "worker_id",
		of: "dynamo_frontend_model_total_kv_blocks",
	},
	{meaning: prefillTokens, name: "dynamo_frontend_worker_active_prefill_tokens", split: "worker_id"},
	{meaning: waiting, name: "dynamo_frontend_worker_waiting_requests", split: "worker_id"},
}

func blocks(kind string) map[string]string {
	return map[string]string{"kv_cache_block_type": kind}
}

// known has all names of the table.
var known = func() map[string]bool {
	names := map[string]bool{}
	for _, m := range metrics {
		names[m.name] = true
		if m.of != "" {
			names[m.of] = true
		}
	}
	return names
}()
