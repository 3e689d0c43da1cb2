// Package dcgm has dcgm-exporter's names for what is measured on GPUs, and reads them where dcgm-exporter measures a machine's
// GPUs already: a source instead of NVML.
package dcgm

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fetch"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// Names of metrics. Memory is in MiB, shares are in percent.
const (
	Utilization       = "DCGM_FI_DEV_GPU_UTIL"
	MemoryUtilization = "DCGM_FI_DEV_MEM_COPY_UTIL"
	MemoryUsed        = "DCGM_FI_DEV_FB_USED"
	MemoryFree        = "DCGM_FI_DEV_FB_FREE"
	memoryReserved    = "DCGM_FI_DEV_FB_RESERVED"
	memoryTotal       = "DCGM_FI_DEV_FB_TOTAL"
	Power             = "DCGM_FI_DEV_POWER_USAGE"
	PowerLimit        = "DCGM_FI_DEV_ENFORCED_POWER_LIMIT"
	Temperature       = "DCGM_FI_DEV_GPU_TEMP"
	// ClockReasons is NVML's mask. Before DCGM 4 it had the other name.
	ClockReasons    = "DCGM_FI_DEV_CLOCKS_EVENT_REASONS"
	throttleReasons = "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"
	ECCCorrected    = "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"
	ECCUncorrected  = "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"
	MIGMode         = "DCGM_FI_DEV_MIG_MODE"
)

// Bounds of what is read.
const (
	// maxBody bounds the text, in bytes. 16 GPUs with all of DCGM's fields, profiling and NVLink are 1 MB.
	maxBody = 8 << 20
	maxGPUs = 1024
	// maxSamples: 16 metrics of each GPU or of 7 parts of it.
	maxSamples = 16 * 8 * maxGPUs
)

// errNothingKnown is the error for text without any of the metrics above.
var errNothingKnown = errors.New("none of its metrics is one of dcgm-exporter's that tells of a GPU")

// Source reads the dcgm-exporter of this machine.
type Source struct {
	url    string
	client *http.Client
}

// New makes a source for the metrics at u. A user and a password in it are sent as basic auth.
func New(u *url.URL, client *http.Client) *Source {
	return &Source{url: u.String(), client: client}
}

// accept asks for the text format, which is all that dcgm-exporter has.
var accept = http.Header{"Accept": {"text/plain;version=0.0.4;q=1,*/*;q=0.1"}}

// Sample reads the metrics once. How old they are already nobody tells: dcgm-exporter measures at a pace of its own.
func (s *Source) Sample(ctx context.Context) (source.Sample, error) {
	answer, err := fetch.Get(ctx, s.client, s.url, accept, maxBody)
	if err != nil {
		return source.Sample{}, err
	}
	gpus, skipped := parse(answer.Body)
	if len(gpus) == 0 {
		return source.Sample{}, errNothingKnown
	}
	sample := source.Sample{GPUs: gpus, Targets: 1, Notes: map[string]int{}}
	if skipped > 0 {
		sample.Notes["lines_skipped"] = skipped
	}
	return sample, nil
}
