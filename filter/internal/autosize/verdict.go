package autosize

import "strconv"

// verdict is what the last window that was judged has shown. Times are in seconds.
type verdict struct {
	ttft, usual float64 // 0: there was none
	queue       float64 // how many waited in the upstream
	itl         float64 // that is too long for more slots; 0: it isn't
	whole       float64 // 1: the times are of whole answers
}

// AppendWhy says why there are as many slots, such as "14: ttft 310 ms is 1.9 times the best 160 ms, 3.1 wait there". The best is what it
// takes while there is room.
func (s *State) AppendWhy(b []byte, c *Settings) []byte {
	b = strconv.AppendInt(b, int64(s.Slots(c)), 10)
	v := &s.verdict
	switch {
	case s.unaided(&c.Load) && s.below.n > 0 && !s.apart():
		b = s.appendLevel(b)
	case v.usual == 0:
		return append(b, ": nothing is known yet"...)
	default:
		b = s.appendWait(b)
	}
	b = c.Load.append(b)
	switch {
	case s.probing != 0:
		b = append(b, "; fewer for a moment, to measure the best anew"...)
	case s.slots >= float64(c.Limit):
		b = append(b, "; it is the limit"...)
	case s.slots >= s.fit(&c.Load):
		b = append(b, "; more don't fit there"...)
	}
	return b
}

// appendWait says what the slots are by, where the times tell who waits.
func (s *State) appendWait(b []byte) []byte {
	v := &s.verdict
	of := ": ttft "
	if v.whole > 0 {
		of = ": a whole answer's "
	}
	b = appendRatio(append(b, of...), v.ttft, v.usual)
	if v.queue >= 0.05 {
		b = strconv.AppendFloat(append(b, ", "...), v.queue, 'f', 1, 64)
		b = append(b, " wait there"...)
	}
	if v.itl > 0 {
		b = appendRatio(append(b, "; itl "...), v.itl, s.itl)
	}
	return b
}

func appendRatio(b []byte, n, of float64) []byte {
	b = strconv.AppendFloat(b, n*1e3, 'f', 0, 64)
	b = strconv.AppendFloat(append(b, " ms is "...), n/of, 'f', 1, 64)
	b = strconv.AppendFloat(append(b, " times the best "...), of*1e3, 'f', 0, 64)
	return append(b, " ms"...)
}
