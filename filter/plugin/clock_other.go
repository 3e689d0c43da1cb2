//go:build !wasip1

package plugin

import "time"

var started = time.Now()

// monotonic stands in where the package is compiled for something else than the host, for linters and editors.
func monotonic() int64 { return int64(time.Since(started)) }
