//go:build wasip1

package abi

import "unsafe"

//go:wasmimport env proxy_get_header_map_pairs
//go:noescape
func proxyGetHeaderMapPairs(kind uint32, data, size unsafe.Pointer) Status

//go:wasmimport env proxy_replace_header_map_value
//go:noescape
func proxyReplaceHeaderMapValue(kind uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, valueSize uint32) Status

//go:wasmimport env proxy_remove_header_map_value
//go:noescape
func proxyRemoveHeaderMapValue(kind uint32, name unsafe.Pointer, nameSize uint32) Status

//go:wasmimport env proxy_get_buffer_bytes
//go:noescape
func proxyGetBufferBytes(kind, start, most uint32, data, size unsafe.Pointer) Status

//go:wasmimport env proxy_set_buffer_bytes
//go:noescape
func proxySetBufferBytes(kind, start, size uint32, data unsafe.Pointer, dataSize uint32) Status

//go:wasmimport env proxy_get_property
//go:noescape
func proxyGetProperty(path unsafe.Pointer, pathSize uint32, data, size unsafe.Pointer) Status

//go:wasmimport env proxy_set_property
//go:noescape
func proxySetProperty(path unsafe.Pointer, pathSize uint32, value unsafe.Pointer, valueSize uint32) Status

//go:wasmimport env proxy_get_shared_data
//go:noescape
func proxyGetSharedData(key unsafe.Pointer, keySize uint32, data, size, version unsafe.Pointer) Status

//go:wasmimport env proxy_set_shared_data
//go:noescape
func proxySetSharedData(key unsafe.Pointer, keySize uint32, value unsafe.Pointer, valueSize, version uint32) Status

//go:wasmimport env proxy_define_metric
//go:noescape
func proxyDefineMetric(kind uint32, name unsafe.Pointer, nameSize uint32, id unsafe.Pointer) Status

//go:wasmimport env proxy_increment_metric
//go:noescape
func proxyIncrementMetric(id uint32, by int64) Status

//go:wasmimport env proxy_record_metric
//go:noescape
func proxyRecordMetric(id uint32, value uint64) Status

//go:wasmimport env proxy_send_local_response
//go:noescape
func proxySendLocalResponse(status uint32, details unsafe.Pointer, detailsSize uint32, body unsafe.Pointer, bodySize uint32,
	headers unsafe.Pointer, headersSize uint32, grpcStatus int32) Status

//go:wasmimport env proxy_continue_stream
//go:noescape
func proxyContinueStream(kind uint32) Status

//go:wasmimport env proxy_set_effective_context
//go:noescape
func proxySetEffectiveContext(id uint32) Status

//go:wasmimport env proxy_set_tick_period_milliseconds
//go:noescape
func proxySetTickPeriod(milliseconds uint32) Status

//go:wasmimport env proxy_http_call
//go:noescape
func proxyHTTPCall(cluster unsafe.Pointer, clusterSize uint32, headers unsafe.Pointer, headersSize uint32,
	body unsafe.Pointer, bodySize uint32, trailers unsafe.Pointer, trailersSize, timeout uint32, id unsafe.Pointer) Status

//go:wasmimport env proxy_call_foreign_function
//go:noescape
func proxyCallForeignFunction(name unsafe.Pointer, nameSize uint32, argument unsafe.Pointer, argumentSize uint32, data, size unsafe.Pointer) Status

//go:wasmimport env proxy_log
//go:noescape
func proxyLog(level uint32, text unsafe.Pointer, textSize uint32) Status

//go:wasmimport wasi_snapshot_preview1 clock_time_get
//go:noescape
func clockTimeGet(id uint32, precision uint64, result unsafe.Pointer) uint32
