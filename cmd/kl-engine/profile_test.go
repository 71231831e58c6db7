package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

// A profiled process obeys the commands of its FIFO and leaves complete files. It is this one: a control plane needs a cluster.
func TestProfile(t *testing.T) {
	dir := t.TempDir()
	if err := startProfile(dir, "control-plane", time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	give := func(command string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, "control-plane", "do"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(command + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	give("idle 1ms") // too early
	if got := awaitFile(t, dir, "error"); string(got) != "\"idle 1ms\": want ready, and then idle with a duration\n" {
		t.Errorf("error is %q", got)
	}
	give("ready")
	var start, idle usage
	if err := json.Unmarshal(awaitFile(t, dir, "start.json"), &start); err != nil || start.Seconds < 1 || start.User+start.System <= 0 || start.Init <= 0 || start.Init > start.User+start.System {
		t.Errorf("start.json: %v, %+v, want more than a second and some CPU", err, start)
	}
	give("idle 50ms")
	awaitFile(t, dir, "heap.pprof")
	if err := json.Unmarshal(awaitFile(t, dir, "idle.json"), &idle); err != nil || idle.Seconds < 0.05 || idle.Seconds > start.Seconds+5 ||
		idle.Goroutines == 0 || idle.Threads == 0 || idle.Live == 0 {
		t.Errorf("idle.json: %v, %+v", err, idle)
	}
	for _, name := range []string{"start.pprof", "idle.pprof", "heap.pprof", "goroutine.pprof"} {
		checkProfile(t, filepath.Join(dir, "control-plane", name))
	}
}

// Only roles that run for long are profiled, and only if they are asked to.
func TestProfileDir(t *testing.T) {
	t.Setenv("KL_PROFILE", "")
	for _, r := range roles(time.Now()) {
		if got := profileDir(r.name, nil); got != "" {
			t.Errorf("without KL_PROFILE, role %s leaves profiles in %s", r.name, got)
		}
	}
	t.Setenv("KL_PROFILE", "/profiles")
	var profiled []string
	for _, r := range roles(time.Now()) {
		if profileDir(r.name, []string{"--dir", "x"}) != "" {
			profiled = append(profiled, r.name)
		}
	}
	if want := []string{string(cluster.ControlPlane)}; !slices.Equal(profiled, want) {
		t.Errorf("outside of nodes, KL_PROFILE is for %q, want %q", profiled, want)
	}
}

// A directory that cannot be written to is named.
func TestProfileNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := engine(t, "control-plane")
	cmd.Env = append(cmd.Env, "KL_PROFILE="+file)
	out, err := cmd.CombinedOutput()
	want := "kl-engine control-plane: profile: mkdir " + file + ": not a directory\n"
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || string(out) != want {
		t.Errorf("%v, output %q, want %q", err, out, want)
	}
}

func awaitFile(t *testing.T, dir, name string) []byte {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); ; {
		data, err := os.ReadFile(filepath.Join(dir, "control-plane", name))
		if err == nil && len(data) > 0 {
			return data
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s does not come", name)
		}
	}
}

// checkProfile fails unless the file is a whole gzip stream, which every pprof file is.
func checkProfile(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Errorf("%s: %v", file, err)
		return
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n == 0 {
		t.Errorf("%s: %d bytes, %v", file, n, err)
	}
}
