// Command profile prints what the programs of a cluster spent their time on, from the directory that `make profile` leaves: one
// folder a program, with start.pprof, start.json, idle.pprof and idle.json, as cmd/kl-engine/profile.go describes them.
//
//	go run ./testdata/profile bin/profile
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/pprof/profile"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "profile: give the directory that make profile has written")
		os.Exit(2)
	}
	if err := report(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		os.Exit(1)
	}
}

// usage is what cmd/kl-engine writes beside a profile. Seconds of CPU are measured, where profiles count samples.
type usage struct {
	Seconds     float64
	User        float64
	System      float64
	Init        float64
	Voluntary   int64
	Involuntary int64
	Collections uint64
	Allocated   uint64
	Goroutines  int
	Threads     int
	Live        uint64
}

// report prints each program of dir, first its start, then its idle time.
func report(w io.Writer, dir string) error {
	programs, err := filepath.Glob(filepath.Join(dir, "*", "start.json"))
	if err != nil {
		return err
	}
	if len(programs) == 0 {
		return fmt.Errorf("%s has no profiles: run make profile", dir)
	}
	for _, file := range programs {
		folder := filepath.Dir(file)
		for _, phase := range []string{"start", "idle"} {
			if err := reportPhase(w, filepath.Base(folder)+", "+phase, filepath.Join(folder, phase)); err != nil {
				return err
			}
		}
	}
	return nil
}

func reportPhase(w io.Writer, title, base string) error {
	data, err := os.ReadFile(base + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a phase that was not asked for
	}
	if err != nil {
		return err
	}
	var u usage
	if err := json.Unmarshal(data, &u); err != nil {
		return fmt.Errorf("read %s.json: %w", base, err)
	}
	f, err := os.Open(base + ".pprof")
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return fmt.Errorf("read %s.pprof: %w", base, err)
	}
	cpu := u.User + u.System
	fmt.Fprintf(w, "== %s: %.1f s, %.2f s of CPU (%.2f user, %.2f system), %.2f %% of a core\n", title, u.Seconds, cpu, u.User, u.System, 100*cpu/u.Seconds)
	fmt.Fprintf(w, "   %.0f wake-ups/s, %.0f preemptions/s, %d collections, %.0f MB allocated, %.0f MB of heap, %d goroutines, %d threads\n",
		float64(u.Voluntary)/u.Seconds, float64(u.Involuntary)/u.Seconds, u.Collections, float64(u.Allocated)/1e6, float64(u.Live)/1e6, u.Goroutines, u.Threads)
	if u.Init > 0 {
		fmt.Fprintf(w, "   %.0f ms of CPU were before main, where Go initializes packages: GODEBUG=inittrace=1 kl-engine version shows which\n", 1000*u.Init)
	}
	for _, t := range tables(p) {
		t.print(w, time.Duration(p.DurationNanos))
	}
	fmt.Fprintln(w)
	return nil
}
