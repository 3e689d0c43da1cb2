package health

import (
	"encoding/binary"

	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
)

const (
	layout   = 3  // of all records; another one's count as damaged
	longName = 64 // bytes that are kept of a model's name

	recordSize   = 1 + 8 + 1 + longName + latency.Size + breaker.Size
	throttleHead = 1
)

var order = binary.LittleEndian

// modelRecord is what is known of one model. The zero value is of none.
type modelRecord struct {
	hash    uint64 // of the model; 0 in a record that several share
	length  uint8
	name    [longName]byte
	latency latency.State
	breaker breaker.State
}

// name is a model's, as far as it is kept.
func shortened(model string) string { return model[:min(len(model), longName)] }

// own makes the record a new one of a model.
func (r *modelRecord) own(hash uint64, model string) {
	*r = modelRecord{hash: hash}
	r.length = uint8(copy(r.name[:], model))
}

// belongs says that the record is the model's.
func (r *modelRecord) belongs(hash uint64, model string) bool {
	return r.hash == hash && inplace.String(r.name[:r.length]) == shortened(model)
}

func (r *modelRecord) append(b []byte) []byte {
	b = append(b, layout)
	b = order.AppendUint64(b, r.hash)
	b = append(b, r.length)
	b = append(b, r.name[:]...)
	return r.breaker.Append(r.latency.Append(b))
}

// decode reads what append wrote. It says false if that isn't what it was given: then r is the zero value.
func (r *modelRecord) decode(b []byte) (sound bool) {
	*r = modelRecord{}
	if len(b) != recordSize || b[0] != layout || b[9] > longName {
		return false
	}
	r.hash, r.length = order.Uint64(b[1:]), b[9]
	b = b[10:]
	copy(r.name[:], b)
	b = b[longName:]
	for _, c := range r.name[r.length:] {
		sound = sound || c != 0
	}
	if sound { // something stands behind the name
		*r = modelRecord{}
		return false
	}
	if !r.latency.Decode(b[:latency.Size]) || !r.breaker.Decode(b[latency.Size:]) {
		*r = modelRecord{}
		return false
	}
	return true
}
