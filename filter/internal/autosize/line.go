package autosize

// lineWeight is the weight of a new sample in a line, where nothing else is said.
const lineWeight = 1.0 / 16

// terms is how many numbers a line has.
const terms = 7

// line is how long an answer takes by its tokens: the straight line with the least squares, of the samples of late. All are sums, in which a sample
// has less weight the older it is.
type line struct {
	n, x, y, xx, xy, yy float64
	z                   float64 // how many were in flight
}

func (l *line) terms() [terms]*float64 {
	return [...]*float64{&l.n, &l.x, &l.y, &l.xx, &l.xy, &l.yy, &l.z}
}

func (l *line) learn(weight, x, y, z float64) {
	more := [...]float64{1, x, y, x * x, x * y, y * y, z}
	for i, of := range l.terms() {
		*of += more[i] - weight**of
	}
}

// at is the line at x: never below an eighth of the mean, nor falling; 0: nothing is known.
func (l *line) at(x float64) float64 {
	if l.n == 0 {
		return 0
	}
	mean := l.y / l.n
	return max(mean+l.slope()*(x-l.x/l.n), mean/8)
}

func (l *line) slope() float64 {
	if spread := l.xx - l.x*l.x/l.n; spread > 1 {
		return max((l.xy-l.x*l.y/l.n)/spread, 0)
	}
	return 0
}

// scatter is the variance of the samples' mean about the line, as a share of the mean's square.
func (l *line) scatter() float64 {
	mean := l.y / l.n
	about := l.yy/l.n - mean*mean - l.slope()*(l.xy/l.n-l.x/l.n*mean)
	return max(about, 0) / (mean * mean * l.n)
}
