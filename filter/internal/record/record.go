// Package record changes what the workers of a proxy share. They share values by key, in a Store that knows compare-and-swap and
// nothing else: no lock, no delete, no expiry. So each change is a loop of one shape, whoever keeps the record:
//
//	u := record.Open(store, key)
//	for u.Read() {
//		// decode u.Value and change it; with nothing to change, break
//		u.Write(changed)
//	}
//	return u.Err()
//
// Owners: an Update belongs to its caller, and is of one change. The value that it reads is the caller's until the store's next call.
//
// Bounds: the loop is gone through Attempts times at most. A worker holds a record for microseconds, so even with dozens of workers at
// one record that isn't reached. If it is, the change is not made (ErrContended), and it is the caller who says what that means.
//
// The worst moments: two workers create one key at once: one of them loses, as with any other change (Create). The worker dies between
// Read and Write: nothing was changed. The store fails: the loop ends with its error.
package record

import "errors"

// Store is the state that all workers of a proxy share: the host's shared data. It outlives a worker and a change of
// configuration, has no expiry and no delete.
type Store interface {
	// Get gives a key's value and its version. The value is the caller's until the next call.
	Get(key string) (value []byte, version uint32, found bool, err error)
	// Put writes the value if the key still has the version, and says whether it did. With the version Create it writes
	// only if the key does not exist. What the key and the value stand in is the caller's: a store keeps copies.
	Put(key string, value []byte, version uint32) (written bool, err error)
}

// Create is the version of a key that does not exist yet.
//
// Envoy's shared data has no "create if absent", and its version 0 overwrites blindly. But a version that is not 0 is
// compared only with a key that exists: an absent one is created
// (https://github.com/proxy-wasm/proxy-wasm-cpp-host/blob/main/src/shared_data.cc). The greatest version is reached after
// four billion writes, and would have to be this very key's at this very moment to be mistaken.
const Create = ^uint32(0)

// Attempts is how often a record is read for one change, before it is given up.
const Attempts = 200

// ErrContended says that a record could not be written for the crowd of workers.
var ErrContended = errors.New("a shared record is written by too many workers at once")

// Update is one change of a record: it is read, changed and written if nobody else has written it in between, else read again.
type Update struct {
	Value []byte // as it was read; empty: there is none, and a write creates it

	store   Store
	key     string
	version uint32
	reads   int
	written bool
	err     error
}

// Open begins a change of the key's record.
func Open(store Store, key string) Update { return Update{store: store, key: key} }

// Move goes on with another key. What was read is void, but not how often.
func (u *Update) Move(key string) { u.key, u.Value = key, nil }

// Read reads the record. It says false if it was written, if the store has failed and if the workers are too many.
func (u *Update) Read() bool {
	if u.written || u.err != nil {
		return false
	}
	if u.reads == Attempts {
		u.err = ErrContended
		return false
	}
	u.reads++
	value, version, found, err := u.store.Get(u.key)
	if err != nil {
		u.err = err
		return false
	}
	u.Value, u.version = value, version
	if !found {
		u.Value, u.version = nil, Create
	}
	return true
}

// Write writes the record if it still is what was read, and says whether it did.
func (u *Update) Write(value []byte) bool {
	u.written, u.err = u.store.Put(u.key, value, u.version)
	u.written = u.written && u.err == nil
	return u.written
}

// Err is why the change was not made: ErrContended, or the store's error; nil if it was made, or there was none to make.
func (u *Update) Err() error { return u.err }
