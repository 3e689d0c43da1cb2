//go:build !linux || !cgo

package nvidia

import "fmt"

// Built says whether NVML is in this build.
const Built = false

// NewLibrary is a library that says why there is none.
func NewLibrary(string) Library {
	return absent{}
}

type absent struct{}

func (absent) Open() error {
	return fmt.Errorf("%w: it is not in this build, which was made without cgo (CGO_ENABLED=1 and a C compiler add it)", ErrUnavailable)
}

func (absent) Close() {}

func (absent) Count() (int, error) {
	return 0, ErrUnavailable
}

func (absent) Device(int) (Device, error) {
	return nil, ErrUnavailable
}
