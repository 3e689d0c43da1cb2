package wasmhost

// proxyFunctions are the functions of the module "env" that the SDK can import.
func proxyFunctions() []hostFunction {
	return []hostFunction{
		{"proxy_log", "iii", "i", proxyLog},
		{"proxy_send_local_response", "iiiiiiii", "i", proxySendLocalResponse},
		{"proxy_get_shared_data", "iiiii", "i", proxyGetSharedData},
		{"proxy_set_shared_data", "iiiii", "i", proxySetSharedData},
		{"proxy_register_shared_queue", "iii", "i", unimplemented},
		{"proxy_resolve_shared_queue", "iiiii", "i", unimplemented},
		{"proxy_dequeue_shared_queue", "iii", "i", unimplemented},
		{"proxy_enqueue_shared_queue", "iii", "i", unimplemented},
		{"proxy_get_header_map_value", "iiiii", "i", proxyGetHeaderMapValue},
		{"proxy_add_header_map_value", "iiiii", "i", proxyAddHeaderMapValue},
		{"proxy_replace_header_map_value", "iiiii", "i", proxyReplaceHeaderMapValue},
		{"proxy_remove_header_map_value", "iii", "i", proxyRemoveHeaderMapValue},
		{"proxy_get_header_map_pairs", "iii", "i", proxyGetHeaderMapPairs},
		{"proxy_set_header_map_pairs", "iii", "i", proxySetHeaderMapPairs},
		{"proxy_get_buffer_bytes", "iiiii", "i", proxyGetBufferBytes},
		{"proxy_set_buffer_bytes", "iiiii", "i", proxySetBufferBytes},
		{"proxy_continue_stream", "i", "i", proxyContinueStream},
		{"proxy_close_stream", "i", "i", proxyCloseStream},
		{"proxy_http_call", "iiiiiiiiii", "i", proxyHTTPCall},
		{"proxy_call_foreign_function", "iiiiii", "i", proxyCallForeignFunction},
		{"proxy_set_tick_period_milliseconds", "i", "i", proxySetTickPeriod},
		{"proxy_set_effective_context", "i", "i", proxySetEffectiveContext},
		{"proxy_done", "", "i", proxyDone},
		{"proxy_define_metric", "iiii", "i", proxyDefineMetric},
		{"proxy_increment_metric", "il", "i", proxyIncrementMetric},
		{"proxy_record_metric", "il", "i", proxyRecordMetric},
		{"proxy_get_metric", "ii", "i", proxyGetMetric},
		{"proxy_get_property", "iiii", "i", proxyGetProperty},
		{"proxy_set_property", "iiii", "i", proxySetProperty},
	}
}

// proxyLog captures a line of the filter's log.
func proxyLog(v *VM, a []uint64) uint64 {
	level := Level(uint32(a[0]))
	if level > LevelCritical {
		return uint64(statusBadArgument)
	}
	message, ok := v.readString(a[1], a[2])
	if !ok {
		return uint64(statusInvalidMemoryAccess)
	}
	v.host.log(LogLine{VM: v.id, Context: v.context().id, Level: level, Message: message})
	return uint64(statusOK)
}

// proxyCallForeignFunction knows none.
func proxyCallForeignFunction(_ *VM, _ []uint64) uint64 { return uint64(statusNotFound) }

// unimplemented stands for the shared queues, which Envoy has and the filter
// doesn't use.
func unimplemented(_ *VM, _ []uint64) uint64 { return uint64(statusUnimplemented) }
