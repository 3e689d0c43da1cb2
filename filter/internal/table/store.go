package table

// Store is the state that all workers of a proxy share: the host's shared data. It outlives a worker and a change of
// configuration, has no expiry and no delete.
type Store interface {
	// Get gives a key's value and its version. The value is the caller's until the next call.
	Get(key string) (value []byte, version uint32, found bool, err error)
	// Put writes the value if the key still has the version, and says whether it did. With the version Create it writes
	// only if the key does not exist.
	Put(key string, value []byte, version uint32) (written bool, err error)
}

// Create is the version of a key that does not exist yet.
//
// Envoy's shared data has no "create if absent", and its version 0 overwrites blindly. But a version that is not 0 is
// compared only with a key that exists: an absent one is created
// (https://github.com/proxy-wasm/proxy-wasm-cpp-host/blob/main/src/shared_data.cc). The greatest version is reached after
// four billion writes, and would have to be this very key's at this very moment to be mistaken.
const Create = ^uint32(0)

// Memory is a Store for tests, with the host's rules.
type Memory struct {
	// Conflict, if set, is called before each write; a test writes to the store there to provoke a lost race.
	Conflict func(key string)

	values map[string]entry
	last   uint32
}

type entry struct {
	value   []byte
	version uint32
}

// NewMemory gives an empty store.
func NewMemory() *Memory { return &Memory{values: map[string]entry{}} }

// Get implements Store.
func (m *Memory) Get(key string) ([]byte, uint32, bool, error) {
	e, found := m.values[key]
	return append([]byte(nil), e.value...), e.version, found, nil
}

// Put implements Store.
func (m *Memory) Put(key string, value []byte, version uint32) (bool, error) {
	if m.Conflict != nil {
		conflict := m.Conflict
		m.Conflict = nil
		conflict(key)
		m.Conflict = conflict
	}
	if e, found := m.values[key]; found && e.version != version {
		return false, nil
	}
	m.last++
	m.values[key] = entry{append([]byte(nil), value...), m.last}
	return true, nil
}

// Size is the number of keys, and of bytes in keys and values.
func (m *Memory) Size() (keys, bytes int) {
	for key, e := range m.values {
		bytes += len(key) + len(e.value)
	}
	return len(m.values), bytes
}
