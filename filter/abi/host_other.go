//go:build !wasip1

package abi

import "unsafe"

// Elsewhere than in the host there is none: the package is compiled for editors, linters, and the tests of what it does by itself.

const unimplemented Status = 12

func proxyGetHeaderMapPairs(_ uint32, _, _ unsafe.Pointer) Status { return unimplemented }

func proxyReplaceHeaderMapValue(_ uint32, _ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _ uint32) Status {
	return unimplemented
}

func proxyRemoveHeaderMapValue(_ uint32, _ unsafe.Pointer, _ uint32) Status { return unimplemented }

func proxyGetBufferBytes(_, _, _ uint32, _, _ unsafe.Pointer) Status { return unimplemented }

func proxySetBufferBytes(_, _, _ uint32, _ unsafe.Pointer, _ uint32) Status { return unimplemented }

func proxyGetProperty(_ unsafe.Pointer, _ uint32, _, _ unsafe.Pointer) Status { return unimplemented }

func proxySetProperty(_ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _ uint32) Status {
	return unimplemented
}

func proxyGetSharedData(_ unsafe.Pointer, _ uint32, _, _, _ unsafe.Pointer) Status {
	return unimplemented
}

func proxySetSharedData(_ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _, _ uint32) Status {
	return unimplemented
}

func proxyDefineMetric(_ uint32, _ unsafe.Pointer, _ uint32, _ unsafe.Pointer) Status {
	return unimplemented
}

func proxyIncrementMetric(_ uint32, _ int64) Status { return unimplemented }

func proxyRecordMetric(_ uint32, _ uint64) Status { return unimplemented }

func proxySendLocalResponse(_ uint32, _ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _ uint32, _ int32) Status {
	return unimplemented
}

func proxyContinueStream(_ uint32) Status { return unimplemented }

func proxySetEffectiveContext(_ uint32) Status { return unimplemented }

func proxySetTickPeriod(_ uint32) Status { return unimplemented }

func proxyHTTPCall(_ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _, _ uint32, _ unsafe.Pointer) Status {
	return unimplemented
}

func proxyCallForeignFunction(_ unsafe.Pointer, _ uint32, _ unsafe.Pointer, _ uint32, _, _ unsafe.Pointer) Status {
	return unimplemented
}

func proxyLog(_ uint32, _ unsafe.Pointer, _ uint32) Status { return unimplemented }

func clockTimeGet(_ uint32, _ uint64, _ unsafe.Pointer) uint32 { return uint32(unimplemented) }
