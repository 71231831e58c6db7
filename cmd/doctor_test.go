package cmd

import (
	"strings"
	"testing"

	"github.com/klkube/kl/cluster/doctor"
)

// TestDoctor runs the real checks, whose results depend on the machine, and compares the two outputs and the exit code.
func TestDoctor(t *testing.T) {
	m := newMachine(t)
	out, _, code := m.run("doctor", "-o", "json")
	var results []doctor.Result
	decode(t, out, &results)
	if len(results) != len(doctor.All()) {
		t.Fatalf("%d results of %d checks", len(results), len(doctor.All()))
	}
	want := exitOK
	if doctor.Worst(results) == doctor.Fail {
		want = exitFailed
	}
	text, stderr, textCode := m.run("doctor")
	if code != want || textCode != want || stderr != "" {
		t.Errorf("exit codes %d and %d, want %d; %s", code, textCode, want, stderr)
	}
	for _, r := range results {
		if !strings.Contains(text, string(r.Level)) || !strings.Contains(text, " "+r.Name+" ") {
			t.Errorf("no %s in:\n%s", r.Name, text)
		}
		if r.Level != doctor.OK && r.Fix == "" {
			t.Errorf("%s does not say what to do: %s", r.Name, r.Detail)
		}
	}
	if !strings.Contains(text, "Docker answers and runs 0 nodes of kl") {
		t.Errorf("the engine's nodes are not counted:\n%s", text)
	}
}
