//go:build !wasip1

package plugin

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

var started = time.Now()

// monotonic stands in where the package is compiled for something else than the host, for linters and editors.
func monotonic() clock.Moment { return clock.Moment(time.Since(started)) }
