package cmd

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

func TestUpRestart(t *testing.T) {
	m := newMachine(t)
	var calls []bool
	m.env.StartAtBoot = func(_ context.Context, l cluster.Layout, on bool) (cluster.Autostart, error) {
		if l.Name != "kl" {
			t.Errorf("asked for cluster %s", l.Name)
		}
		calls = append(calls, on)
		return cluster.Autostart{Path: "/units/kl-kl.service", Note: "no systemd here: do it yourself"}, nil
	}
	if _, stderr, code := m.run("up", "--restart", "sometimes"); code != exitUsage || !strings.Contains(stderr, "use always or no") {
		t.Errorf("--restart sometimes: exit code %d, %s", code, stderr)
	}
	_, stderr, code := m.run("up", "--restart", "always")
	if code != exitOK || !strings.Contains(stderr, "/units/kl-kl.service") || !strings.Contains(stderr, "do it yourself") {
		t.Errorf("--restart always: exit code %d, %s", code, stderr)
	}
	m.must("up") // without the flag nothing changes
	m.must("up", "--restart", "no")
	m.must("up", "--restart=always")
	m.must("down")
	if want := []bool{true, false, true, false}; !slices.Equal(calls, want) {
		t.Errorf("StartAtBoot was called with %v, want %v", calls, want)
	}
}
