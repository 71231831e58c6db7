//go:build e2e

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klkube/kl/testdata/bench/figures"
)

// TestStartRatios is the short form of the benchmarks for CI: rounds of U, kl without nodes and kl with one node. It fails if a
// ratio to U is worse than the committed one in testdata/bench/ratios by more than 15 %, and that is no chance: see figures.Gate.
//
//	make bench-short
//
// KL_DRIVER is the driver: without it embedded for root on Linux, else docker, if an engine answers.
func TestStartRatios(t *testing.T) {
	if os.Getenv("KL_DRIVER") == "" {
		driver := gateDriver()
		if driver == "" {
			t.Skip("SKIPPED: start, ratio to upstream's: nodes without an engine need root and Linux, and no Docker engine answers")
		}
		t.Setenv("KL_DRIVER", driver)
	}
	u := newUser(t)
	committed, err := figures.ReadRatios(filepath.Join(u.h.source, "testdata", "bench", "ratios"))
	if err != nil {
		t.Fatal(err)
	}
	u.up(1) // unpacks
	u.kl("down")
	s := newStarts(u)
	gate, uncommitted, err := figures.NewGate(committed, u.driver)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range uncommitted {
		t.Logf("SKIPPED: ratio of %s: none is committed in testdata/bench/ratios: see CONTRIBUTING.md, The benchmarks", key)
	}
	for i := 0; gate.More(); i++ {
		s.round(i, s.upstream, s.nodeless, s.bareNode)
		if err := gate.Add(s.lastRatios()); err != nil {
			t.Fatal(err)
		}
	}
	s.results().publish("starts")
	for _, v := range gate.Verdicts() {
		if v.Failed {
			t.Error(v)
		} else {
			t.Log(v)
		}
	}
}

// gateDriver chooses a driver that works here; empty if none does.
func gateDriver() string {
	switch {
	case runtime.GOOS == "linux" && os.Geteuid() == 0:
		return "embedded"
	case exec.Command("docker", "info").Run() == nil:
		return "docker"
	}
	return ""
}

// lastRatios are the ratios to U of the last round.
func (s *starts) lastRatios() map[string]float64 {
	ratios := map[string]float64{}
	for _, r := range s.results().rows {
		if n := len(r.Ratios); n > 0 {
			ratios[r.Key] = r.Ratios[n-1]
		}
	}
	return ratios
}
