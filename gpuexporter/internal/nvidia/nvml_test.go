//go:build linux && cgo

package nvidia

import (
	"errors"
	"slices"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
)

func TestBindingsValuesAreTurnedIntoBaseUnits(t *testing.T) {
	d := dgxa100.NewDevice(0)
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) {
		return nvml.Utilization{Gpu: 75, Memory: 20}, nvml.SUCCESS
	}
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 312500, nvml.SUCCESS }
	d.GetEnforcedPowerLimitFunc = func() (uint32, nvml.Return) { return 400000, nvml.SUCCESS }
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 61, nvml.SUCCESS }
	d.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) {
		return nvml.ClocksThrottleReasonHwThermalSlowdown, nvml.SUCCESS
	}
	w := device{nvml: d, has: func(string) bool { return true }}
	if compute, memory, err := w.Utilization(); compute != 0.75 || memory != 0.2 || err != nil {
		t.Errorf("utilization %v, %v, %v", compute, memory, err)
	}
	for name, got := range map[string]func() (float64, error){"312.5": w.Power, "400": w.PowerLimit, "61": w.Temperature} {
		want := map[string]float64{"312.5": 312.5, "400": 400, "61": 61}[name]
		if v, err := got(); v != want || err != nil {
			t.Errorf("got %v, %v: want %s", v, err, name)
		}
	}
	if r, err := w.Throttle(); err != nil || !r.Throttled() {
		t.Errorf("throttle %v, %v", r, err)
	}
}

func TestReturnCodes(t *testing.T) {
	for code, want := range map[nvml.Return]error{
		nvml.ERROR_NOT_SUPPORTED: ErrNotSupported, nvml.ERROR_NO_PERMISSION: ErrNotSupported,
		nvml.ERROR_FUNCTION_NOT_FOUND: ErrNotSupported, nvml.ERROR_GPU_IS_LOST: ErrLost, nvml.ERROR_RESET_REQUIRED: ErrLost,
	} {
		d := dgxa100.NewDevice(0)
		d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, code }
		if _, _, err := (device{nvml: d}).Memory(); !errors.Is(err, want) {
			t.Errorf("%v: error %v, want %v", code, err, want)
		}
	}
	if err := asError(nvml.ERROR_UNKNOWN); err == nil || errors.Is(err, ErrLost) || errors.Is(err, ErrNotSupported) {
		t.Errorf("error %v", err)
	}
}

func TestEveryReasonOfTheBindingsHasAName(t *testing.T) {
	var all gpu.Reasons
	for _, r := range gpu.AllReasons {
		all |= r.Mask
	}
	if all != nvml.ClocksEventReasonAll {
		t.Errorf("the table has %#x, NVML %#x", all, nvml.ClocksEventReasonAll)
	}
}

func TestMIG(t *testing.T) {
	part := func(uuid string, r nvml.Return) *mock.Device {
		return &mock.Device{
			GetUUIDFunc:       func() (string, nvml.Return) { return uuid, nvml.SUCCESS },
			GetMemoryInfoFunc: func() (nvml.Memory, nvml.Return) { return nvml.Memory{Used: 5, Total: 10}, r },
		}
	}
	parts := []*mock.Device{part("MIG-a", nvml.SUCCESS), nil, part("MIG-b", nvml.ERROR_NOT_SUPPORTED)}
	d := dgxa100.NewDevice(0)
	d.MigMode = nvml.DEVICE_MIG_ENABLE
	d.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return len(parts), nvml.SUCCESS }
	d.GetMigDeviceHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		if parts[i] == nil {
			return nil, nvml.ERROR_NOT_FOUND
		}
		return parts[i], nvml.SUCCESS
	}
	enabled, got, err := device{nvml: d, has: func(string) bool { return true }}.MIG()
	if err != nil || !enabled || len(got) != 2 {
		t.Fatalf("%v, %+v, %v", enabled, got, err)
	}
	if got[0].UUID != "MIG-a" || *got[0].MemoryUsed != 5 || *got[0].MemoryTotal != 10 || got[1].MemoryUsed != nil {
		t.Errorf("got %+v", got)
	}
	if _, _, err := (device{nvml: d, has: func(string) bool { return false }}).MIG(); !errors.Is(err, ErrNotSupported) {
		t.Errorf("a driver without MIG: error %v", err)
	}
}

func TestProcessesOfSeveralContextsAreAddedUp(t *testing.T) {
	d := dgxa100.NewDevice(0)
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 7, UsedGpuMemory: 10}, {Pid: 8, UsedGpuMemory: notAvailable}, {Pid: 7, UsedGpuMemory: 5}}, nvml.SUCCESS
	}
	got, err := device{nvml: d}.Processes()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b gpu.Process) int { return int(a.PID) - int(b.PID) })
	if len(got) != 2 || *got[0].Memory != 15 || got[1].Memory != nil {
		t.Errorf("got %+v", got)
	}
}
