package resources_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/embedded/tour"
	"github.com/klkube/kl/embedded/tour/resources"
	"github.com/klkube/kl/embedded/tour/tourtest"
)

// The machine may be busy, so that burn gets less than it asks for, but never more.
func TestBurn(t *testing.T) {
	r := tourtest.Start(t, resources.Burn(), "--cores", "0.2", "--for", "1s")
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`used ([\d.]+) s of processors in ([\d.]+) s\n$`).FindStringSubmatch(r.Output())
	if m == nil {
		t.Fatalf("output %q", r.Output())
	}
	used, _ := strconv.ParseFloat(m[1], 64)
	took, _ := strconv.ParseFloat(m[2], 64)
	if used < 0.02 || used > 0.5*took {
		t.Errorf("used %v s in %v s, want a fifth", used, took)
	}
}

func TestBurnStops(t *testing.T) {
	r := tourtest.Start(t, resources.Burn(), "--cores", "1.5")
	r.Wait("keeps 1.5 cores busy")
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
}

func TestGrow(t *testing.T) {
	r := tourtest.Start(t, resources.Grow(), "--memory", "32Mi")
	r.Wait("holds 32Mi\n")
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	r = tourtest.Start(t, resources.Grow(), "--memory", "1", "--for", "1ms")
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		program tour.Program
		args    string
		err     string
	}{
		{resources.Burn(), "--cores 0", "burn: --cores is 0: want more than 0, and at most 1024"},
		{resources.Burn(), "--cores NaN", "burn: --cores is NaN: want more than 0, and at most 1024"},
		{resources.Burn(), "--for -1s", "burn: --for is -1s: want a time that is not negative"},
		{resources.Grow(), "--memory lots", `grow: invalid argument "lots" for "--memory" flag: "lots" is not a size such as 64Mi; see kl-engine tour grow --help`},
	} {
		err := tourtest.Start(t, tt.program, strings.Fields(tt.args)...).End()
		if err == nil || err.Error() != tt.err {
			t.Errorf("%s %s: error %v, want %q", tt.program.Name, tt.args, err, tt.err)
		}
	}
}

func TestSpin(t *testing.T) {
	began := time.Now()
	resources.Spin(t.Context(), 20*time.Millisecond)
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("took %s", took)
	}
}
