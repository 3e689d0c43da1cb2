package record

import "github.com/spillway-proxy/spillway/filter/internal/inplace"

// Versions is a Store as one worker has it, which remembers what the worker itself wrote last, so that it needn't be read before it is changed again. Reading is
// the dearest call of a request's. What is remembered is good for a change, since that fails if the record is another one by now; for nothing else.
//
// No store says which version a write has given a record, so that is guessed. Envoy numbers the writes of a whole process by one counter
// (https://github.com/proxy-wasm/proxy-wasm-cpp-host/blob/main/src/shared_data.h), which has come at least as far as the greatest version that was read, and one further with each write
// of the worker's own since. So the guess is right where nobody else has written meanwhile, and too low where somebody has: the record had it before the worker
// wrote, if ever, and as versions grow it never will again. A change by a guess that is wrong fails, as any does that comes too late.
//
// A store that numbers each key's writes by themselves would make guesses that are too high, and the writes of others be lost. So nothing is guessed before one was seen to number as Envoy
// does (NewVersions).
//
// Owners: it belongs to one worker, all of whose writes go through it. What Recall gives is good until the next write.
//
// Bounds: slots records of mostRemembered bytes.
//
// Worst moments: with several workers under load nearly every guess is wrong. So after a wrong one fewer are made: none for as many writes as
// wrong ones have outnumbered right ones by the power of two, up to mostPause. Then a write is read once, which sets the counter right.
type Versions struct {
	Store
	next    uint32 // the least version that the next write can get; 0: not known, or nothing is guessed
	pause   int    // writes until it is guessed again
	penalty int    // the next pause
	kept    []remembered
}

const (
	slots          = 64
	mostRemembered = 1 << 10 // bytes
	mostPause      = 1 << 12 // writes
)

// remembered is what the worker wrote last of those keys that share a slot.
type remembered struct {
	key, value []byte
	version    uint32 // 0: none
}

// NewVersions makes one worker's view of a store. Whether that numbers all writes by one counter it finds out by two records of its own, whose keys begin with the prefix. The first is
// written before the second, and read after it: if each key had versions of its own, the second's could not be the greater one, however many workers try at once.
func NewVersions(store Store, prefix string) (*Versions, error) {
	v := &Versions{Store: store, penalty: 1, kept: make([]remembered, slots)}
	first, second := prefix+"/first", prefix+"/second"
	for _, key := range [...]string{first, second} {
		u := Open(store, key)
		for u.Read() {
			u.Write([]byte{1})
		}
		if u.Err() != nil {
			return nil, u.Err()
		}
	}
	_, later, _, err := store.Get(second)
	if err != nil {
		return nil, err
	}
	_, earlier, _, err := store.Get(first)
	if err != nil {
		return nil, err
	}
	if later > earlier {
		v.next = after(later)
	}
	return v, nil
}

// Get implements Store.
func (v *Versions) Get(key string) (value []byte, version uint32, found bool, err error) {
	value, version, found, err = v.Store.Get(key)
	if found && v.next != 0 && int32(version-v.next) >= 0 {
		v.next = after(version)
	}
	return value, version, found, err
}

// Put implements Store.
func (v *Versions) Put(key string, value []byte, version uint32) (written bool, err error) {
	written, err = v.Store.Put(key, value, version)
	if !written || v.next == 0 {
		return written, err
	}
	v.next = after(v.next)
	if v.pause > 0 {
		if v.pause--; v.pause == 0 {
			_, _, _, _ = v.Get(key)
		}
	}
	return written, err
}

// after is the version after one. 0 is none.
func after(version uint32) uint32 { return max(version+1, 1) }

// recall gives what the worker wrote last of a key, and the version that it guesses; 0: it has to be read.
func (v *Versions) recall(key string) (value []byte, version uint32) {
	if v.next == 0 || v.pause > 0 {
		return nil, 0
	}
	r := v.slot(key)
	if r.version == 0 || inplace.String(r.key) != key {
		return nil, 0
	}
	return r.value, r.version
}

// remember takes note of what was just written, or not: then it isn't what is remembered any more.
func (v *Versions) remember(key string, value []byte, written bool) {
	if v.next == 0 {
		return
	}
	r := v.slot(key)
	if r.version = 0; !written || v.pause > 0 || len(value) > mostRemembered {
		return
	}
	if r.value == nil {
		r.key, r.value = make([]byte, 0, 2*len(key)), make([]byte, 0, mostRemembered)
	}
	r.key, r.value, r.version = append(r.key[:0], key...), r.value[:copy(r.value[:mostRemembered], value)], v.next-1
}

// slot is where a key's record is remembered. Keys of one kind differ in their last letters.
func (v *Versions) slot(key string) *remembered {
	hash := uint32(0)
	for i := max(len(key)-4, 0); i < len(key); i++ {
		hash = hash*31 + uint32(key[i])
	}
	return &v.kept[hash%slots]
}

// guessed takes note of whether a guess was right.
func (v *Versions) guessed(right bool) {
	if right {
		v.penalty = max(v.penalty-1, 1)
		return
	}
	v.pause, v.penalty = v.penalty, min(2*v.penalty, mostPause)
}
