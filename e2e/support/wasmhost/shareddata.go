package wasmhost

import (
	"maps"
	"slices"
)

// sharedData is the process's key-value store. The host's mutex guards it.
type sharedData struct {
	entries map[string]sharedEntry
	// nextCas numbers the writes of all keys, so that a value is never seen twice
	// with the same number.
	nextCas uint32
	// fails and loses say how many of the guest's next calls fail, and how many of
	// its next writes come too late.
	fails, loses int
}

type sharedEntry struct {
	value []byte
	cas   uint32
}

func newSharedData() sharedData {
	return sharedData{entries: map[string]sharedEntry{}, nextCas: 1}
}

// set writes a value. A cas of 0 always writes; any other must be the key's
// present one, unless the key is absent: then it is created whatever the cas.
func (d *sharedData) set(key string, value []byte, cas uint32) status {
	if e, ok := d.entries[key]; ok && cas != 0 && cas != e.cas {
		return statusCasMismatch
	}
	d.entries[key] = sharedEntry{value: slices.Clone(value), cas: d.nextCas}
	d.nextCas++
	if d.nextCas == 0 { // 0 means "no cas" to the guest.
		d.nextCas++
	}
	return statusOK
}

// SharedData returns a key's value and its cas number.
func (h *Host) SharedData(key string) (value []byte, cas uint32, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.shared.entries[key]
	return slices.Clone(e.value), e.cas, ok
}

// SetSharedData writes a key as another VM would with a cas of 0.
func (h *Host) SetSharedData(key string, value []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shared.set(key, value, 0)
}

// DisturbSharedData has so many of the guests' next calls fail, and so many of
// their next writes meet a value that another VM has just written.
func (h *Host) DisturbSharedData(fails, loses int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shared.fails, h.shared.loses = fails, loses
}

// disturbed says what becomes of a call, if not what should.
func (h *Host) disturbed(write bool) status {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch d := &h.shared; {
	case d.fails > 0:
		d.fails--
		return statusInternalFailure
	case write && d.loses > 0:
		d.loses--
		return statusCasMismatch
	}
	return statusOK
}

// SharedDataKeys returns all keys in order.
func (h *Host) SharedDataKeys() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.shared.entries))
}

func proxyGetSharedData(v *VM, a []uint64) uint64 {
	key, ok := v.readString(a[0], a[1])
	if !ok {
		return uint64(statusInvalidMemoryAccess)
	}
	if s := v.host.disturbed(false); s != statusOK {
		return uint64(s)
	}
	value, cas, found := v.host.SharedData(key)
	if !found {
		return uint64(statusNotFound)
	}
	if !v.returnBytes(value, a[2], a[3]) || !v.writeU32(a[4], cas) {
		return uint64(statusInvalidMemoryAccess)
	}
	return uint64(statusOK)
}

func proxySetSharedData(v *VM, a []uint64) uint64 {
	key, ok1 := v.readString(a[0], a[1])
	value, ok2 := v.read(a[2], a[3])
	if !ok1 || !ok2 {
		return uint64(statusInvalidMemoryAccess)
	}
	if s := v.host.disturbed(true); s != statusOK {
		return uint64(s)
	}
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	return uint64(v.host.shared.set(key, value, uint32(a[4])))
}
