package inflate

// block takes a block's header (RFC 1951, section 3.2.3).
func (r *Reader) block() bool {
	v, ok := r.need(3)
	if !ok {
		return false
	}
	last := v&1 == 1
	switch v >> 1 {
	case 0:
		r.hold, r.bits = 0, 0 // to the next byte
		p := r.in[r.at:]
		if len(p) < 4 {
			return false
		}
		length, check := uint16(p[0])|uint16(p[1])<<8, uint16(p[2])|uint16(p[3])<<8
		if length != ^check {
			return r.fail(ErrFormat)
		}
		r.at += 4
		r.left, r.state = int(length), stStored
	case 1:
		r.fixed()
		r.state = stSymbols
	case 2:
		if !r.dynamic() {
			return r.err != nil
		}
		r.state = stSymbols
	default:
		return r.fail(ErrFormat)
	}
	r.last = last
	return true
}

// endBlock goes on to the next one.
func (r *Reader) endBlock() bool {
	r.state = stBlock
	if r.last {
		r.state = stTrailer
	}
	return true
}

// stored copies what of a stored block is there.
func (r *Reader) stored() bool {
	n := min(r.left, len(r.in)-r.at)
	for _, c := range r.in[r.at : r.at+n] {
		if !r.put(c) {
			return r.fail(ErrStopped)
		}
	}
	r.at, r.left = r.at+n, r.left-n
	if r.left == 0 {
		return r.endBlock()
	}
	return n > 0
}

// table decodes a canonical Huffman code, bit by bit: the shortest program for it, and quick enough for what is rarely sent.
type table struct {
	counts  [16]uint16  // of codes of each length
	symbols [288]uint16 // in the order of their codes
}

// build makes the table from the symbols' lengths, and says whether the code is not one that says too much.
func (t *table) build(lengths []byte) bool {
	t.counts = [16]uint16{}
	for _, n := range lengths {
		t.counts[n]++
	}
	left := 1
	var offsets [17]uint16
	for n := 1; n < 16; n++ {
		left = left<<1 - int(t.counts[n])
		if left < 0 {
			return false
		}
		offsets[n+1] = offsets[n] + t.counts[n]
	}
	for symbol, n := range lengths {
		if n != 0 {
			t.symbols[offsets[n]] = uint16(symbol)
			offsets[n]++
		}
	}
	t.counts[0] = 0
	return true
}

// decode takes a symbol; -1: it is not complete.
func (r *Reader) decode(t *table) int {
	code, first, index := 0, 0, 0
	for n := 1; n < 16; n++ {
		bit, ok := r.need(1)
		if !ok {
			return -1
		}
		code |= int(bit)
		count := int(t.counts[n])
		if code-count < first {
			return int(t.symbols[index+code-first])
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	r.err = ErrFormat
	return -1
}

// fixed sets the code that needs no description (section 3.2.6).
func (r *Reader) fixed() {
	var lengths [288]byte
	for symbol := range lengths {
		switch {
		case symbol < 144:
			lengths[symbol] = 8
		case symbol < 256:
			lengths[symbol] = 9
		case symbol < 280:
			lengths[symbol] = 7
		default:
			lengths[symbol] = 8
		}
	}
	r.lengths.build(lengths[:])
	for symbol := range 30 {
		lengths[symbol] = 5
	}
	r.distances.build(lengths[:30])
}

// order of the lengths of the code for lengths (section 3.2.7).
var order = [19]byte{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads a block's codes; false: they are not complete, or wrong.
func (r *Reader) dynamic() bool {
	head, ok := r.need(14)
	if !ok {
		return false
	}
	literals, distances, codes := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if literals > 286 {
		r.err = ErrFormat
		return false
	}
	var lengths [286 + 32]byte
	for _, symbol := range order[:codes] {
		n, ok := r.need(3)
		if !ok {
			return false
		}
		lengths[symbol] = byte(n)
	}
	if !r.lengths.build(lengths[:len(order)]) {
		r.err = ErrFormat
		return false
	}
	clear(lengths[:len(order)])
	if !r.codeLengths(lengths[:literals+distances]) {
		return false
	}
	if lengths[256] == 0 || !r.lengths.build(lengths[:literals]) || !r.distances.build(lengths[literals:literals+distances]) {
		r.err = ErrFormat
		return false
	}
	return true
}

// codeLengths reads the lengths of the symbols' codes, which are a code themselves.
func (r *Reader) codeLengths(lengths []byte) bool {
	for i := 0; i < len(lengths); {
		symbol := r.decode(&r.lengths)
		if symbol < 0 {
			return false
		}
		if symbol < 16 {
			lengths[i] = byte(symbol)
			i++
			continue
		}
		repeat := [...]struct {
			bits  uint
			least int
		}{{2, 3}, {3, 3}, {7, 11}}[symbol-16]
		n, ok := r.need(repeat.bits)
		if !ok {
			return false
		}
		times := repeat.least + int(n)
		if i+times > len(lengths) || symbol == 16 && i == 0 {
			r.err = ErrFormat
			return false
		}
		var value byte
		if symbol == 16 {
			value = lengths[i-1]
		}
		for range times {
			lengths[i] = value
			i++
		}
	}
	return true
}

// What lengths and distances stand for (section 3.2.5): where they begin, and how many bits more they have.
var (
	lengthFrom = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distFrom   = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
		6145, 8193, 12289, 16385, 24577}
	distBits = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// symbol takes a byte, or a copy of what came before.
func (r *Reader) symbol() bool {
	symbol := r.decode(&r.lengths)
	switch {
	case symbol < 0:
		return r.err != nil
	case symbol < 256:
		if !r.put(byte(symbol)) {
			return r.fail(ErrStopped)
		}
		return true
	case symbol == 256:
		return r.endBlock()
	case symbol >= 257+len(lengthFrom):
		return r.fail(ErrFormat)
	}
	more, ok := r.need(uint(lengthBits[symbol-257]))
	if !ok {
		return false
	}
	length := int(lengthFrom[symbol-257]) + int(more)
	symbol = r.decode(&r.distances)
	if symbol < 0 {
		return r.err != nil
	}
	if symbol >= len(distFrom) {
		return r.fail(ErrFormat)
	}
	if more, ok = r.need(uint(distBits[symbol])); !ok {
		return false
	}
	return r.copy(int(distFrom[symbol])+int(more), length)
}

func (r *Reader) copy(distance, length int) bool {
	if distance > r.end && !r.full {
		return r.fail(ErrFormat)
	}
	for range length {
		if !r.put(r.window[(r.end-distance+windowSize)%windowSize]) {
			return r.fail(ErrStopped)
		}
	}
	return true
}
