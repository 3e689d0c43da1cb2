package autosize

// lineWeight is the weight of a new sample in a line.
const lineWeight = 1.0 / 16

// line is how long an answer takes by its tokens: the straight line with the least squares, of the samples of late. All are sums, in which a sample
// has less weight the older it is.
type line struct{ n, x, y, xx, xy float64 }

func (l *line) learn(x, y float64) {
	terms := [...]float64{1, x, y, x * x, x * y}
	for i, of := range [...]*float64{&l.n, &l.x, &l.y, &l.xx, &l.xy} {
		more := terms[i]
		*of += more - lineWeight**of
	}
}

// at is the line at x: never below an eighth of the mean, nor falling; 0: nothing is known.
func (l *line) at(x float64) float64 {
	if l.n == 0 {
		return 0
	}
	mean, slope := l.y/l.n, 0.0
	if spread := l.xx - l.x*l.x/l.n; spread > 1 {
		slope = max((l.xy-l.x*l.y/l.n)/spread, 0)
	}
	return max(mean+slope*(x-l.x/l.n), mean/8)
}
