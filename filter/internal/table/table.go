// Package table keeps the buckets of all subjects in a record.Store whose keys can't be deleted: a set-associative table of
// fixed-size records.
//
// A subject's hash picks one of Pages pages; a page is one key, and holds up to Ways records of RecordSize bytes. The
// limits of one subject live in one page, so what changes together is one compare-and-swap. A page is as long as its
// records; a bucket that is full again is forgotten when its page is next written, without loss. Only when a page is
// crowded beyond Ways is a live bucket evicted, and Save says how many.
//
// Which one goes: of those whose subject never came again while they were live, the one that was left alone longest; else the one
// nearest to being full. Who makes names up brings each of them once, and a debt of any depth; it costs those nothing who
// come again: their buckets go only where 64 of a page's subjects did. A subject that came once is
// forgotten after some 3 million others at the soonest, where a million have come again.
//
// So memory is bounded by Pages × (header + Ways × RecordSize) = 144 MiB of values, and a million subjects in one limit
// take 36 bytes each and some 2 MB of keys and headers.
//
// A bucket that has a window is stored in the same 36 bytes: the second of its last change instead of the nanosecond, beside the window's
// first second; and when the window ends, in units of two seconds of the wall clock, in place of when it is full: it is forgotten when
// the wall clock says so, which may have been set since.
//
// The hash is keyed (SipHash-2-4, https://www.aumasson.jp/siphash/) with a random key that the workers share: a client
// that chooses its own name can't aim at another's bucket or crowd a page.
//
// Worst moments: two workers that write one page at once: one of them loses, reads again and decides again. A page that
// can't be read (another version's, or damaged) counts as empty and is written anew.
package table

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/dchest/siphash"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// The shape of the table.
const (
	Pages      = 1 << 16
	Ways       = 64
	RecordSize = 36

	headerSize = 8
	cameAgain  = 1 << 31 // in a stored fullAt: entry.again
	hasWindow  = 1 << 63 // in a stored At: it is one of a window, whose other bits are the second of At, and Window
	version    = 1
)

// Hash identifies a subject.
type Hash uint64

// Page is the index of the page the subject lives in.
func (h Hash) Page() uint32 { return uint32(h) % Pages }

// Table finds pages. It belongs to one worker.
type Table struct {
	store  record.Store
	prefix string
	lease  time.Duration
	key    [2]uint64
	free   []*Page
	buffer []byte

	// Wall is the time of day, by which windows end. It may be another one's, who reads it.
	Wall *clock.Wall
}

// New gives the table of a namespace. lease is the length of a lease period. random is 16 random bytes,
// used as the hash's key if no worker has chosen one yet.
func New(store record.Store, namespace string, lease time.Duration, random []byte) (*Table, error) {
	t := &Table{store: store, prefix: namespace + "/b1/", lease: lease, Wall: &clock.Wall{}}
	name := namespace + "/hash-key"
	if _, err := store.Put(name, random, record.Create); err != nil {
		return nil, err
	}
	chosen, _, _, err := store.Get(name)
	if err != nil {
		return nil, err
	}
	if len(chosen) == 16 {
		t.key = [2]uint64{binary.LittleEndian.Uint64(chosen), binary.LittleEndian.Uint64(chosen[8:])}
	}
	return t, nil
}

// Hash hashes what identifies a subject.
func (t *Table) Hash(subject []byte) Hash {
	return Hash(siphash.Hash(t.key[0], t.key[1], subject))
}

// Period is the lease period of a time. It wraps after two centuries at the least.
func (t *Table) Period(now clock.Moment) uint32 { return uint32(now / clock.Moment(t.lease)) }

// Page is a copy of one page. It belongs to the caller until Release, and its memory, the key's too, is used again by another one then.
type Page struct {
	index   uint32
	key     []byte
	update  record.Update
	period  uint32
	wall    *clock.Wall
	buckets []entry
}

// entry is one bucket.
type entry struct {
	id     uint64
	fullAt uint32 // second at which the bucket is full again if its reservations are used, rounded up; below cameAgain; the state's By, where that is known
	ends   uint32 // of one that has a window: the wall clock's second at which that ends
	again  bool   // its subject came again while it was live
	state  bucket.State
}

// Load reads the page of a subject, its reservations moved on to the time now.
func (t *Table) Load(subject Hash, now clock.Moment) (*Page, error) {
	p := t.page()
	p.index = subject.Page()
	p.key = strconv.AppendUint(append(p.key[:0], t.prefix...), uint64(p.index), 36)
	p.update = record.Open(t.store, inplace.String(p.key)) // which has done with it at the next Load
	return p, t.Reload(p, now)
}

// Reload reads the page again, after a lost race. After too many the error is record.ErrContended.
func (t *Table) Reload(p *Page, now clock.Moment) error {
	p.buckets, p.period, p.wall = p.buckets[:0], t.Period(now), t.Wall
	if p.update.Read() {
		p.decode(p.update.Value)
	}
	return p.update.Err()
}

// Save writes the page if nobody else has meanwhile, without what is full and what doesn't fit. It says whether it did,
// and how many live buckets had to go. changed are the records that must stay.
func (t *Table) Save(p *Page, now clock.Moment, changed ...uint64) (written bool, evicted int, err error) {
	p.forget(now)
	evicted = p.evict(changed)
	t.buffer = p.encode(t.buffer)
	written = p.update.Write(t.buffer)
	return written, evicted, p.update.Err()
}

// Release gives the page back.
func (t *Table) Release(p *Page) { t.free = append(t.free, p) }

func (t *Table) page() *Page {
	if n := len(t.free); n > 0 {
		p := t.free[n-1]
		t.free = t.free[:n-1]
		return p
	}
	return &Page{}
}

// Index says which page it is.
func (p *Page) Index() uint32 { return p.index }

// Period is the lease period the page's reservations are at.
func (p *Page) Period() uint32 { return p.period }

// Get gives the bucket of an id; a full one if there is none.
func (p *Page) Get(id uint64) bucket.State {
	if i := p.find(id); i >= 0 {
		return p.buckets[i].state
	}
	return bucket.State{}
}

// Again notes that the subject of an id came again, if its bucket is live.
func (p *Page) Again(id uint64) {
	if i := p.find(id); i >= 0 {
		p.buckets[i].again = true
	}
}

// Set puts the bucket of an id.
func (p *Page) Set(id uint64, state bucket.State, rate bucket.Rate) { p.SetBy(id, state, &rate, &rate) }

// SetBy puts the bucket of an id, in which something was used or reserved by a rate that may be an earlier one than the bucket's.
func (p *Page) SetBy(id uint64, state bucket.State, rate, by *bucket.Rate) {
	i := p.find(id)
	if i < 0 {
		i = len(p.buckets)
		p.buckets = append(p.buckets, entry{id: id})
	}
	e := &p.buckets[i]
	state.Changed(&e.state, rate, by)
	e.state, e.ends = state, 0
	if rate.Now == nil {
		e.fullAt = fullAt(&state, rate)
		return
	}
	if e.ends = rate.Now.End; state.Window >= e.ends {
		e.ends = rate.Now.After
	}
	e.over(p.wall)
}

// over says when an entry with a window is forgotten: when that ends, but not before all workers know alike what the time is.
func (e *entry) over(wall *clock.Wall) {
	e.fullAt = max(seconds(wall.Moment(int64(e.ends))+clock.Moment(time.Second)), seconds(e.state.At.Add(bucket.Settling)))
}

// seconds is a moment as records have it, cut to what they hold.
func seconds(m clock.Moment) uint32 { return uint32(min(max(m.Seconds(), 0), cameAgain-1)) }

func (p *Page) find(id uint64) int {
	for i := range p.buckets {
		if p.buckets[i].id == id {
			return i
		}
	}
	return -1
}

func fullAt(state *bucket.State, rate *bucket.Rate) uint32 {
	switch {
	case rate.Idle > 0:
		return seconds(state.At.Add(rate.Idle + 2*time.Second))
	case rate.Leased:
		return seconds(state.At.Add(time.Second))
	case rate.Window == 0: // as long as something is reserved
		return cameAgain - 1
	default:
		return state.By
	}
}

// forget drops the buckets that are full.
func (p *Page) forget(now clock.Moment) {
	kept := p.buckets[:0]
	for i := range p.buckets {
		e := &p.buckets[i]
		idle := e.state.Reserved[0] == 0 && e.state.Reserved[1] == 0
		if idle && (e.state.Full() && e.state.At <= now || int64(e.fullAt) <= now.Seconds()) { // a lease of which nothing is used lasts till At
			continue
		}
		kept = append(kept, *e)
	}
	p.buckets = kept
}

// evict drops the buckets with the least to lose until the page fits.
func (p *Page) evict(changed []uint64) (evicted int) {
	for len(p.buckets) > Ways {
		victim := -1
		for i := range p.buckets {
			if contains(changed, p.buckets[i].id) {
				continue
			}
			if victim < 0 || p.buckets[i].less(&p.buckets[victim]) {
				victim = i
			}
		}
		if victim < 0 {
			victim = 0
		}
		last := len(p.buckets) - 1
		p.buckets[victim] = p.buckets[last]
		p.buckets = p.buckets[:last]
		evicted++
	}
	return evicted
}

// less says that there is less to lose with the bucket than with the other.
func (e *entry) less(other *entry) bool {
	switch {
	case e.again != other.again:
		return other.again
	case e.again || e.state.At == other.state.At:
		return e.fullAt < other.fullAt
	default:
		return e.state.At < other.state.At
	}
}

func contains(ids []uint64, id uint64) bool {
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}

func (p *Page) encode(b []byte) []byte {
	const most = headerSize + Ways*RecordSize
	b = slices.Grow(b[:0], most)[:headerSize+len(p.buckets)*RecordSize] // there are Ways at most
	binary.LittleEndian.PutUint32(b, version)
	binary.LittleEndian.PutUint32(b[4:], p.period)
	for i := range p.buckets {
		e, at := &p.buckets[i], b[headerSize+i*RecordSize:][:RecordSize]
		moment, full := uint64(e.state.At), e.fullAt
		if e.state.Window != 0 {
			moment, full = hasWindow|uint64(seconds(e.state.At))<<32|uint64(e.state.Window), e.ends/2+e.ends&1
		}
		if e.again {
			full |= cameAgain
		}
		binary.LittleEndian.PutUint64(at, e.id)
		binary.LittleEndian.PutUint64(at[8:], uint64(e.state.Used))
		binary.LittleEndian.PutUint64(at[16:], moment)
		binary.LittleEndian.PutUint32(at[24:], e.state.Reserved[0])
		binary.LittleEndian.PutUint32(at[28:], e.state.Reserved[1])
		binary.LittleEndian.PutUint32(at[32:], full)
	}
	return b
}

func (p *Page) decode(b []byte) {
	if len(b) < headerSize || b[0] != version || (len(b)-headerSize)%RecordSize != 0 {
		return
	}
	written := binary.LittleEndian.Uint32(b[4:])
	// Another worker may have read a later time than this one: its period stands.
	periods := p.period - written
	if int32(periods) < 0 {
		p.period, periods = written, 0
	}
	for b = b[headerSize:]; len(b) > 0; b = b[RecordSize:] {
		e := entry{
			id:     binary.LittleEndian.Uint64(b),
			fullAt: binary.LittleEndian.Uint32(b[32:]) &^ cameAgain,
			again:  binary.LittleEndian.Uint32(b[32:])&cameAgain != 0,
			state: bucket.State{
				Used:     min(max(int64(binary.LittleEndian.Uint64(b[8:])), 0), bucket.Most),
				At:       clock.Moment(binary.LittleEndian.Uint64(b[16:])),
				Reserved: [2]uint32{binary.LittleEndian.Uint32(b[24:]), binary.LittleEndian.Uint32(b[28:])},
			},
		}
		if e.state.By = e.fullAt; e.state.At < 0 {
			p.decodeWindow(&e)
		}
		e.state.Rotate(periods)
		p.buckets = append(p.buckets, e)
	}
}

// decodeWindow reads what an entry with a window has in the place of others' At and fullAt.
func (p *Page) decodeWindow(e *entry) {
	at := uint64(e.state.At) &^ hasWindow
	e.state.By = 0
	e.state.At, e.state.Window = clock.Moment(at>>32)*clock.Moment(time.Second), uint32(at)
	e.ends = min(e.fullAt, cameAgain-1) * 2
	e.over(p.wall)
}
