package abi

import (
	"encoding/binary"
	"slices"
	"unsafe"
)

// results are what the host writes beside what it hands in. There is one of them, since a worker has one thread: so no call needs memory.
var results struct {
	data, size, number uint32
}

// taken is the value that the host has handed in by the call that was just made: what it asked memory for.
func taken() []byte {
	size := min(int(results.size), len(memory.last))
	return memory.last[:size:size]
}

func clearTaken() { memory.last, results.size = nil, 0 }

func bytesAt(b []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))
}

func textAt(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// Headers gives the headers of a message, in memory of into where it suffices.
func Headers(m Map, into [][2]string) ([][2]string, Status) {
	clearTaken()
	if s := proxyGetHeaderMapPairs(uint32(m), unsafe.Pointer(&results.data), unsafe.Pointer(&results.size)); s != OK {
		return into[:0], s
	}
	return decodePairs(taken(), into[:0])
}

// decodePairs reads headers as the host hands them in: their number, the lengths of names and values, and then these, each with a zero behind it.
func decodePairs(data []byte, into [][2]string) ([][2]string, Status) {
	const failure = Status(4)
	if len(data) < 4 {
		return into, OK // there are none
	}
	n := int(binary.LittleEndian.Uint32(data))
	if n < 0 || n > (len(data)-4)/8 {
		return into, failure
	}
	at := 4 + 8*n
	into = slices.Grow(into, n)[:n]
	for i := range n {
		for k := range into[i] {
			size := int(binary.LittleEndian.Uint32(data[4+8*i+4*k:]))
			if size < 0 || size > len(data)-at {
				return into[:i], failure
			}
			into[i][k] = unsafe.String(unsafe.SliceData(data[at:]), size)
			at = min(at+size+1, len(data))
		}
	}
	return into, OK
}

// encoded is where headers are written for the host.
var encoded []byte

func encodePairs(pairs [][2]string) []byte {
	at := 4 + 8*len(pairs)
	size := at
	for i := range pairs {
		size += len(pairs[i][0]) + len(pairs[i][1]) + 2
	}
	b := slices.Grow(encoded[:0], size)[:size]
	binary.LittleEndian.PutUint32(b, uint32(len(pairs)))
	for i := range pairs {
		for k, text := range pairs[i] {
			binary.LittleEndian.PutUint32(b[4+8*i+4*k:], uint32(len(text)))
			at += copy(b[at:], text)
			b[at] = 0
			at++
		}
	}
	encoded = b
	return b
}

// ReplaceHeader sets a header, in the place of all of that name.
func ReplaceHeader(m Map, name, value string) Status {
	n, nSize := textAt(name)
	v, vSize := textAt(value)
	return proxyReplaceHeaderMapValue(uint32(m), n, nSize, v, vSize)
}

// RemoveHeader takes out all headers of a name.
func RemoveHeader(m Map, name string) Status {
	n, size := textAt(name)
	return proxyRemoveHeaderMapValue(uint32(m), n, size)
}

// Body gives size bytes of a buffer, from start on, or what there is of these. Up to pieceSize bytes are good until the next call of
// Body, more until the callback ends.
func Body(b Buffer, start, size int) ([]byte, Status) {
	clearTaken()
	memory.forPiece = true
	s := proxyGetBufferBytes(uint32(b), uint32(start), uint32(size), unsafe.Pointer(&results.data), unsafe.Pointer(&results.size))
	memory.forPiece = false
	if s != OK {
		return nil, s
	}
	return taken(), OK
}

// ReplaceBody puts something in the place of all that a buffer holds.
func ReplaceBody(b Buffer, body []byte) Status {
	const all = 1<<31 - 1
	data, size := bytesAt(body)
	return proxySetBufferBytes(uint32(b), 0, all, data, size)
}

// Property gives a property of the stream that the host is at; its path's parts are told apart by zeros.
func Property(path string) ([]byte, Status) {
	clearTaken()
	p, size := textAt(path)
	if s := proxyGetProperty(p, size, unsafe.Pointer(&results.data), unsafe.Pointer(&results.size)); s != OK {
		return nil, s
	}
	return taken(), OK
}

// SetProperty sets a value of the filter state of the stream that the host is at.
func SetProperty(name string, value []byte) Status {
	n, nSize := textAt(name)
	v, vSize := bytesAt(value)
	return proxySetProperty(n, nSize, v, vSize)
}

// SharedData gives what all workers share under a key, and its version.
func SharedData(key string) (value []byte, version uint32, s Status) {
	clearTaken()
	k, size := textAt(key)
	s = proxyGetSharedData(k, size, unsafe.Pointer(&results.data), unsafe.Pointer(&results.size), unsafe.Pointer(&results.number))
	if s != OK {
		return nil, 0, s
	}
	return taken(), results.number, OK
}

// SetSharedData writes what all workers share under a key, if it still has the version; 0: in any case.
func SetSharedData(key string, value []byte, version uint32) Status {
	k, kSize := textAt(key)
	v, vSize := bytesAt(value)
	return proxySetSharedData(k, kSize, v, vSize, version)
}

// DefineMetric gives the id of a metric, a new one each time.
func DefineMetric(kind Kind, name string) (id uint32, s Status) {
	n, size := textAt(name)
	s = proxyDefineMetric(uint32(kind), n, size, unsafe.Pointer(&results.number))
	return results.number, s
}

// IncrementMetric adds to a counter, more than nothing.
func IncrementMetric(id uint32, by int64) Status { return proxyIncrementMetric(id, by) }

// RecordMetric sets a gauge, or records in a histogram.
func RecordMetric(id uint32, value uint64) Status { return proxyRecordMetric(id, value) }

// SendResponse answers the stream that the host is at.
func SendResponse(status int, headers [][2]string, body []byte) Status {
	b, bSize := bytesAt(body)
	h, hSize := bytesAt(encodePairs(headers))
	return proxySendLocalResponse(uint32(status), nil, 0, b, bSize, h, hSize, -1)
}

// ResumeRequest lets the request go on of the stream that the host is at.
func ResumeRequest() Status {
	const requests = 0
	return proxyContinueStream(requests)
}

// SetEffectiveContext has the host stand at another stream, or at a plugin. One that it doesn't know leaves it where it is.
func SetEffectiveContext(id uint32) Status { return proxySetEffectiveContext(id) }

// SetTickPeriod has the host make ticks, so many milliseconds apart; 0: none.
func SetTickPeriod(milliseconds uint32) Status { return proxySetTickPeriod(milliseconds) }

// Call sends a request to a cluster. Its answer comes to the context that the host is at, with the id. timeout is in milliseconds.
func Call(cluster string, headers [][2]string, body []byte, timeout uint32) (id uint32, status Status) {
	c, cSize := textAt(cluster)
	h, hSize := bytesAt(encodePairs(headers))
	b, bSize := bytesAt(body)
	status = proxyHTTPCall(c, cSize, h, hSize, b, bSize, nil, 0, timeout, unsafe.Pointer(&results.number))
	return results.number, status
}

// CallForeignFunction calls a function of the host's own that takes and gives nothing.
func CallForeignFunction(name string) Status {
	clearTaken()
	n, size := textAt(name)
	return proxyCallForeignFunction(n, size, nil, 0, unsafe.Pointer(&results.data), unsafe.Pointer(&results.size))
}

// Log writes a line into the host's log.
func Log(level Level, text string) {
	t, size := textAt(text)
	_ = proxyLog(uint32(level), t, size)
}

// Now is the host's steady clock in nanoseconds. It is the same for all workers of a proxy and never steps, which the wall clock does; and
// unlike it, it can't be had from package time as a number.
func Now() int64 {
	const monotonic = 1
	_ = clockTimeGet(monotonic, 1, unsafe.Pointer(&now))
	return now
}

// WallClock is the host's clock of the time of day, in nanoseconds since 1970. It can step.
func WallClock() int64 {
	const realtime = 0
	_ = clockTimeGet(realtime, 1, unsafe.Pointer(&now))
	return now
}

var now int64
