package admit

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A gauge shows no measurement that nobody makes any more, and says that it is none. What was never heard of isn't shown.
func TestThePressuresGauges(t *testing.T) {
	t.Parallel()
	h := newHost(t, `{"upstreams":[{"name":"up","pressure":{"mode":"enforce"}}]}`, recordtest.NewMemory())
	h.tick()
	if _, shown := h.gauges["pressure gpu_memory"]; shown {
		t.Error("a pressure is shown before anything was heard")
	}
	const gpu = `"gpus":[{"uuid":"u","memoryUsedBytes":90,"memoryTotalBytes":100}]`
	for _, test := range []struct {
		instances string
		want      string // of blocks, memory and tokens: the least, and of how many
	}{
		{`{` + gpu + `,"activeDecodeBlocks":0.5,"activePrefillTokens":7},{"activeDecodeBlocks":0.6}`, "500 of 2, 900 of 1, 7 of 1"},
		{`{"activeDecodeBlocks":0.5}`, "500 of 1, 0 of 0, 0 of 0"},
		{`{"activeDecodeBlocks":-1,"activePrefillTokens":"7"}`, "0 of 0, 0 of 0, 0 of 0"},
		{`{"activeDecodeBlocks":0,` + gpu + `}`, "0 of 1, 900 of 1, 0 of 0"},
		{``, "0 of 0, 0 of 0, 0 of 0"},
	} {
		h.Fetched(h.now, 200, []byte(`{"version":1,"instances":[`+test.instances+`]}`))
		h.now += 2 * second
		h.tick()
		got := ""
		for _, kind := range []string{"active_decode_blocks", "gpu_memory", "active_prefill_tokens"} {
			if got != "" {
				got += ", "
			}
			got += fmt.Sprintf("%d of %d", h.gauges["pressure "+kind], h.gauges["pressure of "+kind])
		}
		expect(t, test.instances, got, test.want)
	}
}
