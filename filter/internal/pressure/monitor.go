package pressure

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

const (
	layout     = 2
	noticeSize = 28
	entrySize  = 8 + 8 + 8 + 8 + 8 + 8
)

// Monitor is where the workers put up what was fetched, and see whose turn it is to fetch. It belongs to one worker.
type Monitor struct {
	Interval time.Duration // between two fetches

	store     record.Store
	notice    string // the key of the small record
	content   string // the key of what was fetched
	known     notice
	instances []Instance
	buffer    []byte
}

// notice is the small record.
type notice struct {
	sequence  uint32       // of the content
	tried     clock.Moment // when a worker last began to fetch
	received  clock.Moment // when the content came; 0: never
	instances uint32
}

// NewMonitor gives the monitor of a namespace.
func NewMonitor(store record.Store, namespace string, interval time.Duration) *Monitor {
	return &Monitor{Interval: interval, store: store, notice: namespace + "/p1/notice", content: namespace + "/p1/content"}
}

// Due reads what is new, and says whether this worker is to fetch now. It says so to one worker in an interval.
func (b *Monitor) Due(now clock.Moment) (bool, error) {
	u := record.Open(b.store, b.notice)
	for u.Read() {
		n := decodeNotice(u.Value)
		if n.sequence != b.known.sequence || b.instances == nil && n.received != 0 {
			if err := b.load(n); err != nil {
				return false, err
			}
		}
		b.known = n
		if since := now.Sub(n.tried); n.tried != 0 && since >= 0 && since < b.Interval {
			return false, nil
		}
		n.tried = now
		b.buffer = n.encode(b.buffer[:0])
		if u.Write(b.buffer) {
			return true, nil
		}
	}
	if u.Err() == record.ErrContended {
		return false, nil // others are at it
	}
	return false, u.Err()
}

// Look reads what is new, and nothing else: who asks for a status fetches nothing.
func (b *Monitor) Look() error {
	value, _, found, err := b.store.Get(b.notice)
	if err != nil || !found {
		return err
	}
	n := decodeNotice(value)
	if n.sequence != b.known.sequence || b.instances == nil && n.received != 0 {
		err = b.load(n)
	}
	b.known = n
	return err
}

// Publish puts up what was fetched.
func (b *Monitor) Publish(now clock.Moment, s Snapshot) error {
	b.buffer = encodeInstances(b.buffer[:0], s.Instances)
	if err := b.overwrite(b.content, b.buffer); err != nil {
		return err
	}
	u := record.Open(b.store, b.notice)
	for u.Read() {
		n := decodeNotice(u.Value)
		n.sequence++
		n.received, n.instances = now, uint32(len(s.Instances))
		b.buffer = n.encode(b.buffer[:0])
		if u.Write(b.buffer) {
			b.known, b.instances = n, append(b.instances[:0], s.Instances...)
		}
	}
	return u.Err()
}

// overwrite writes a value whatever was there.
func (b *Monitor) overwrite(key string, value []byte) error {
	u := record.Open(b.store, key)
	for u.Read() {
		u.Write(value)
	}
	return u.Err()
}

func decodeNotice(b []byte) (n notice) {
	if len(b) == noticeSize && order.Uint32(b) == layout {
		n = notice{order.Uint32(b[4:]), clock.Moment(order.Uint64(b[8:])), clock.Moment(order.Uint64(b[16:])), order.Uint32(b[24:])}
	}
	return n
}

// load reads the content. One that does not fit its notice is being written just now: the next look finds it.
func (b *Monitor) load(n notice) error {
	value, _, _, err := b.store.Get(b.content)
	if err != nil {
		return err
	}
	if len(value)%entrySize == 0 && uint32(len(value)/entrySize) == min(n.instances, MostInstances) {
		if b.instances = decodeInstances(b.instances[:0], value); slices.ContainsFunc(b.instances, unsound) {
			b.instances = b.instances[:0] // garbage: nothing is known until the next fetch
		}
	}
	return nil
}

// unsound says that an instance isn't one that Parse gives.
func unsound(x Instance) bool {
	share := func(n float64) bool { return n == Absent || n >= 0 && n <= 1 }
	count := func(n, most int64) bool { return n >= Absent && n <= most }
	return !share(x.Decode) || !share(x.Memory) || !count(x.Prefill, mostTokens) || !count(x.Running, mostRequests) || !count(x.Waiting, mostRequests) || x.Age < 0 || x.Age > oldest
}

var order = binary.LittleEndian

func (n notice) encode(b []byte) []byte {
	b = order.AppendUint32(b, layout)
	b = order.AppendUint32(b, n.sequence)
	b = order.AppendUint64(b, uint64(n.tried))
	b = order.AppendUint64(b, uint64(n.received))
	return order.AppendUint32(b, n.instances)
}

func encodeInstances(b []byte, instances []Instance) []byte {
	for i := range instances {
		x := &instances[i]
		b = order.AppendUint64(b, math.Float64bits(x.Decode))
		b = order.AppendUint64(b, uint64(x.Prefill))
		b = order.AppendUint64(b, math.Float64bits(x.Memory))
		b = order.AppendUint64(b, uint64(x.Running))
		b = order.AppendUint64(b, uint64(x.Waiting))
		b = order.AppendUint64(b, uint64(x.Age))
	}
	return b
}

func decodeInstances(instances []Instance, b []byte) []Instance {
	for ; len(b) >= entrySize; b = b[entrySize:] {
		instances = append(instances, Instance{
			Decode: math.Float64frombits(order.Uint64(b)), Prefill: int64(order.Uint64(b[8:])),
			Memory: math.Float64frombits(order.Uint64(b[16:])), Running: int64(order.Uint64(b[24:])), Waiting: int64(order.Uint64(b[32:])),
			Age: time.Duration(order.Uint64(b[40:])),
		})
	}
	return instances
}
