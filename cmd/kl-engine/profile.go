package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Profiles of the engine itself, for people who work on kl: `make profile`.
//
// KL_PROFILE is a directory; in a node it is cluster.NodeProfileDir, if it exists: `kl up` makes it if it is started with
// KL_PROFILE. The roles control-plane, node and containerd then make a FIFO there, DIR/ROLE/do, and run under the CPU profiler
// from the first line of main. A line in the FIFO is a command:
//
//	ready       end the profile of the start: start.pprof, start.json, which is a usage
//	idle 60s    watch the process for a minute without the profiler, then for another with it: idle.json, idle.pprof,
//	            heap.pprof (of what is live), goroutine.pprof
//
// A file that is there is complete. A command that cannot be carried out leaves its error in DIR/ROLE/error.

// profiler makes profiles of this process in a directory.
type profiler struct {
	dir     string
	started time.Time // of main
	init    float64   // seconds of CPU before that, which no profile can show: Go initializes packages
}

// profileDir is where a role is to leave profiles; empty if it is not to make any.
func profileDir(role string, args []string) string {
	switch {
	case role == string(cluster.ControlPlane):
		return os.Getenv("KL_PROFILE")
	case len(args) == 0 && (role == "node" || role == "containerd"):
		if _, err := os.Lstat(cluster.NodeProfileDir); err == nil {
			return cluster.NodeProfileDir
		}
	}
	return ""
}

// startProfile begins the profile of the start in a directory below dir, and obeys commands from then on.
func startProfile(dir, role string, started time.Time) error {
	before := readUsage()
	p := profiler{dir: filepath.Join(dir, role), started: started, init: before.User + before.System}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	var begun bytes.Buffer
	if err := profileCPU(&begun); err != nil {
		return err
	}
	fifo := filepath.Join(p.dir, "do")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s: %w", fifo, err)
	}
	if err := os.Chmod(fifo, 0o666); err != nil { // a node's root makes it, and kl's user writes to it; no other gets here
		return err
	}
	commands, err := os.OpenFile(fifo, os.O_RDWR, 0) // it never ends, since this process could write
	if err != nil {
		return err
	}
	go p.obey(commands, &begun)
	return nil
}

// sampleRate is how many samples a second of CPU gives: more than Go's 100, since a node's program starts within 0.3 s of CPU, and
// fewer than the ticks of the kernel, 250, since it loses what comes between them.
const sampleRate = 200

// profileCPU starts the profiler. Go says on standard error that the rate is set already.
func profileCPU(w io.Writer) error {
	runtime.SetCPUProfileRate(sampleRate)
	return pprof.StartCPUProfile(w)
}

func (p profiler) obey(commands io.Reader, begun *bytes.Buffer) {
	for lines := bufio.NewScanner(commands); lines.Scan(); {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		var err error
		switch {
		case command == "ready" && begun != nil:
			pprof.StopCPUProfile()
			err = errors.Join(p.write("start.pprof", begun.Bytes()), p.writeUsage("start.json", usage{at: p.started}, p.withInit(readUsage())))
			begun = nil
		case command == "idle" && begun == nil:
			var d time.Duration
			if d, err = time.ParseDuration(argument); err == nil {
				err = p.idle(d)
			}
		default:
			err = fmt.Errorf("%q: want ready, and then idle with a duration", lines.Text())
		}
		if err != nil {
			_ = p.write("error", []byte(err.Error()+"\n")) // there is nobody else to tell
		}
	}
}

func (p profiler) withInit(u usage) usage {
	u.Init = p.init
	return u
}

// idle watches the process for d, and once more under the profiler.
func (p profiler) idle(d time.Duration) error {
	before := readUsage()
	<-time.After(d)
	if err := p.writeUsage("idle.json", before, readUsage()); err != nil {
		return err
	}
	var profile bytes.Buffer
	if err := profileCPU(&profile); err != nil {
		return err
	}
	<-time.After(d)
	pprof.StopCPUProfile()
	if err := p.write("idle.pprof", profile.Bytes()); err != nil {
		return err
	}
	runtime.GC() // the heap profile is that of the last collection
	for _, name := range []string{"goroutine", "heap"} {
		profile.Reset()
		if err := errors.Join(pprof.Lookup(name).WriteTo(&profile, 0), p.write(name+".pprof", profile.Bytes())); err != nil {
			return err
		}
	}
	return nil
}

// usage is what the process has used of the machine, in all or within a time.
type usage struct {
	Seconds     float64 `json:"seconds"`        // that it covers
	User        float64 `json:"user"`           // seconds of CPU in user mode
	System      float64 `json:"system"`         // and in the kernel
	Init        float64 `json:"init,omitempty"` // seconds of both before main; they are in User and System
	Voluntary   int64   `json:"voluntary"`      // context switches because a thread had nothing to do: each is a wake-up later
	Involuntary int64   `json:"involuntary"`    // because another thread's turn had come
	Collections uint64  `json:"collections"`    // of garbage
	Allocated   uint64  `json:"allocated"`      // bytes
	Goroutines  int     `json:"goroutines"`     // at the end, like the rest
	Threads     int     `json:"threads"`
	Live        uint64  `json:"live"` // bytes of the heap, garbage included

	at time.Time
}

func readUsage() usage {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
	}
	metrics.Read(samples)
	u := usage{
		Collections: samples[0].Value.Uint64(), Allocated: samples[1].Value.Uint64(), Live: samples[2].Value.Uint64(),
		Goroutines: runtime.NumGoroutine(), at: time.Now(),
	}
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err == nil {
		u.User, u.System = time.Duration(r.Utime.Nano()).Seconds(), time.Duration(r.Stime.Nano()).Seconds()
		u.Voluntary, u.Involuntary = r.Nvcsw, r.Nivcsw
	}
	if tasks, err := os.ReadDir("/proc/self/task"); err == nil {
		u.Threads = len(tasks)
	}
	return u
}

// since returns what was used after before.
func (u usage) since(before usage) usage {
	u.Seconds = u.at.Sub(before.at).Seconds()
	u.User -= before.User
	u.System -= before.System
	u.Voluntary -= before.Voluntary
	u.Involuntary -= before.Involuntary
	u.Collections -= before.Collections
	u.Allocated -= before.Allocated
	return u
}

// writeUsage writes what was used between two moments.
func (p profiler) writeUsage(name string, before, after usage) error {
	data, err := json.Marshal(after.since(before))
	if err != nil {
		return err
	}
	return p.write(name, append(data, '\n'))
}

func (p profiler) write(name string, data []byte) error {
	return statefile.Replace(filepath.Join(p.dir, name), data, 0o644)
}
