package jsonscan

import "strconv"

// numberState walks the grammar of a JSON number.
type numberState uint8

const (
	numMinus numberState = iota
	numZero
	numInteger
	numPoint
	numFraction
	numExponent
	numSign
	numPower
)

func (n *numberState) start(c byte) bool {
	switch {
	case c == '-':
		*n = numMinus
	case c == '0':
		*n = numZero
	case c >= '1' && c <= '9':
		*n = numInteger
	default:
		return false
	}
	return true
}

// next takes a byte if it continues the number.
func (n *numberState) next(c byte) bool {
	digit := c >= '0' && c <= '9'
	switch *n {
	case numMinus:
		return digit && n.start(c)
	case numZero, numInteger:
		switch {
		case digit:
			return *n == numInteger
		case c == '.':
			*n = numPoint
		case c == 'e' || c == 'E':
			*n = numExponent
		default:
			return false
		}
		return true
	case numPoint:
		return n.digit(c, numFraction)
	case numFraction:
		if c == 'e' || c == 'E' {
			*n = numExponent
			return true
		}
		return digit
	case numExponent:
		if c == '+' || c == '-' {
			*n = numSign
			return true
		}
		return n.digit(c, numPower)
	case numSign:
		return n.digit(c, numPower)
	default:
		return digit
	}
}

// digit takes the first digit of a new part.
func (n *numberState) digit(c byte, part numberState) bool {
	if c < '0' || c > '9' {
		return false
	}
	*n = part
	return true
}

func (n numberState) complete() bool {
	return n == numZero || n == numInteger || n == numFraction || n == numPower
}

// Int reads a number's literal as a whole number. It refuses negative ones, fractions, and what is above 1e15, which no
// count of tokens reaches and which doubles still hold exactly. "12.0" and "1e3" are whole.
func Int(literal []byte) (int64, bool) {
	var n int64
	for i, c := range literal {
		if c < '0' || c > '9' || i == 15 {
			return intFromFloat(literal)
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(literal) > 0
}

func intFromFloat(literal []byte) (int64, bool) {
	const limit = 1e15
	f, err := strconv.ParseFloat(string(literal), 64)
	if err != nil || f < 0 || f > limit || f != float64(int64(f)) {
		return 0, false
	}
	return int64(f), true
}
