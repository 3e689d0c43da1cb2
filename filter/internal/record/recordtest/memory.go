// Package recordtest has a record.Store for tests. The filter is not linked with it.
package recordtest

import "strings"

// Memory is a record.Store with the host's rules, in memory.
type Memory struct {
	// Conflict, if set, is called before each write; a test writes to the store there to provoke a lost race.
	Conflict func(key string)
	// InPlace writes values over, as a host does that allocates nothing for it. What Get gave is void then, as record.Store says.
	InPlace bool

	values map[string]*entry
	last   uint32
}

type entry struct {
	value   []byte
	version uint32
}

// NewMemory gives an empty store.
func NewMemory() *Memory { return &Memory{values: map[string]*entry{}} }

// Get implements record.Store.
func (m *Memory) Get(key string) ([]byte, uint32, bool, error) {
	e, found := m.values[key]
	switch {
	case !found:
		return nil, 0, false, nil
	case m.InPlace:
		return e.value, e.version, true, nil
	}
	return append([]byte(nil), e.value...), e.version, true, nil
}

// Put implements record.Store.
func (m *Memory) Put(key string, value []byte, version uint32) (bool, error) {
	if m.Conflict != nil {
		conflict := m.Conflict
		m.Conflict = nil
		conflict(key)
		m.Conflict = conflict
	}
	e, found := m.values[key]
	switch {
	case !found:
		e = &entry{}
		m.values[strings.Clone(key)] = e
	case e.version != version:
		return false, nil
	case !m.InPlace:
		e.value = nil
	}
	m.last++
	e.value, e.version = append(e.value[:0], value...), m.last
	return true, nil
}

// Size is the number of keys, and of bytes in keys and values.
func (m *Memory) Size() (keys, bytes int) {
	for key, e := range m.values {
		bytes += len(key) + len(e.value)
	}
	return len(m.values), bytes
}
