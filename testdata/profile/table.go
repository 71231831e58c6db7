package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// rows is how many rows of a table are printed; what is less than smallest of the whole is never printed.
const (
	rows     = 24
	smallest = 0.005
)

// table is the time of a profile by one kind of name.
type table struct {
	title string
	time  map[string]time.Duration
	total time.Duration
}

// tables sums up a CPU profile in three ways. In the first two, each sample counts once; in the last, once in every package it
// passes through.
func tables(p *profile.Profile) []table {
	owners := table{title: "on behalf of", time: map[string]time.Duration{}}
	work := table{title: "at work in", time: map[string]time.Duration{}}
	through := table{title: "through", time: map[string]time.Duration{}}
	for _, s := range p.Sample {
		d := time.Duration(s.Value[len(s.Value)-1])
		frames := stack(s)
		owners.add(owner(frames), d)
		work.add(worker(frames), d)
		seen := map[string]bool{}
		for _, f := range frames {
			if name := short(packageOf(f)); !plumbing(packageOf(f)) && !seen[name] {
				seen[name] = true
				through.time[name] += d
			}
		}
		through.total += d
	}
	return []table{owners, work, through}
}

func (t *table) add(name string, d time.Duration) {
	t.time[name] += d
	t.total += d
}

// print writes the largest rows, with their part of the whole and of a core during the profile.
func (t *table) print(w io.Writer, during time.Duration) {
	fmt.Fprintf(w, "%9s %6s %7s  %s\n", "ms", "%", "% core", t.title)
	names := slices.SortedFunc(maps.Keys(t.time), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.time[b], t.time[a]), strings.Compare(a, b))
	})
	for i, name := range names {
		part := t.time[name].Seconds() / t.total.Seconds()
		if i == rows || part < smallest {
			break
		}
		fmt.Fprintf(w, "%9d %6.1f %7.2f  %s\n", t.time[name].Milliseconds(), 100*part, 100*t.time[name].Seconds()/during.Seconds(), name)
	}
}

// stack returns the functions of a sample, outermost first.
func stack(s *profile.Sample) []string {
	var frames []string
	for _, l := range s.Location {
		for _, line := range l.Line { // inlined ones first
			frames = append(frames, line.Function.Name)
		}
	}
	slices.Reverse(frames)
	return frames
}

// owner names for whom the time of a stack was spent: the outermost function that is no plumbing, by its package; a component of
// kl by its type, since those of a program share a package.
func owner(frames []string) string {
	if r := runtimeWork(frames); r != "" {
		return r
	}
	for _, f := range frames {
		pkg := packageOf(f)
		if plumbing(pkg) {
			continue
		}
		if pkg == "github.com/klkube/kl/embedded/controlplane" || pkg == "github.com/klkube/kl/embedded/node" {
			name := strings.TrimPrefix(strings.TrimPrefix(f, pkg+"."), "(*")
			if end := strings.IndexAny(name, ".)"); end >= 0 {
				name = name[:end]
			}
			return short(pkg) + "." + name
		}
		return component(pkg)
	}
	return standard(frames)
}

// component shortens a package to what it is a part of.
func component(pkg string) string {
	for prefix, name := range map[string]string{
		"go.etcd.io/": "etcd", "k8s.io/apiserver": "kube-apiserver", "k8s.io/kube-aggregator": "kube-apiserver (aggregator)",
		"k8s.io/apiextensions-apiserver": "kube-apiserver (CRDs)", "k8s.io/kubernetes/pkg/scheduler": "kube-scheduler",
		"k8s.io/kubernetes/pkg/kubelet": "kubelet", "k8s.io/kubernetes/pkg/proxy": "kube-proxy", "github.com/google/cadvisor": "cAdvisor",
		"github.com/containerd/": "containerd", "google.golang.org/grpc": "gRPC", "k8s.io/client-go/tools/cache": "client-go (informers)",
		"k8s.io/client-go/util/workqueue": "client-go (work queues)",
	} {
		if strings.HasPrefix(pkg, prefix) {
			return name
		}
	}
	return short(pkg)
}

// worker names what a stack was busy with: the package of its innermost function that is not Go's own housekeeping.
func worker(frames []string) string {
	if r := runtimeWork(frames); r != "" {
		return r
	}
	for _, f := range slices.Backward(frames) {
		switch pkg := packageOf(f); {
		case pkg == "runtime", pkg == "reflect", pkg == "sync", pkg == "strings", pkg == "bytes", pkg == "sort", pkg == "slices", pkg == "strconv",
			pkg == "fmt", pkg == "maps", pkg == "errors", pkg == "time", pkg == "context", strings.HasPrefix(pkg, "internal/"), strings.HasPrefix(pkg, "sync/"),
			strings.HasPrefix(pkg, "unicode"), strings.HasPrefix(pkg, "runtime/"):
		default:
			return short(pkg)
		}
	}
	return standard(frames)
}

// runtimeWork names what Go's runtime does for the whole program; empty for anything else.
func runtimeWork(frames []string) string {
	for _, f := range frames {
		switch strings.TrimPrefix(f, "runtime.") {
		case "gcBgMarkWorker", "bgsweep", "bgscavenge", "gcAssistAlloc", "gcStart", "gcMarkDone", "gcMarkTermination":
			return "Go: garbage collection"
		case "schedule", "findRunnable", "park_m", "goschedImpl", "mstart1", "exitsyscall0", "sysmon", "retake":
			return "Go: scheduling, timers and wake-ups"
		case "runtime_doInit", "doInit", "doInit1":
			return "Go: initialization of packages"
		}
	}
	return ""
}

// standard names a stack that is all plumbing.
func standard(frames []string) string {
	for _, f := range frames {
		if pkg := packageOf(f); pkg != "runtime" {
			return pkg
		}
	}
	return "Go: others"
}

// plumbing reports whether a package calls others on behalf of somebody else.
func plumbing(pkg string) bool {
	switch pkg {
	case "github.com/klkube/kl/embedded/lifecycle", "k8s.io/apimachinery/pkg/util/wait", "k8s.io/apimachinery/pkg/util/runtime",
		"golang.org/x/sync/errgroup", "github.com/spf13/cobra", "main":
		return true
	}
	first, _, _ := strings.Cut(pkg, "/")
	return !strings.Contains(first, ".") || strings.HasPrefix(pkg, "golang.org/x/net/http2") ||
		strings.HasPrefix(pkg, "go.opentelemetry.io/")
}

// packageOf is the import path of a function: that of a/b.c.(*T).M.func1 is a/b.c, with the dots of its last element escaped.
func packageOf(function string) string {
	function, _, _ = strings.Cut(function, "[") // type arguments have slashes
	slash := strings.LastIndex(function, "/") + 1
	dot := strings.Index(function[slash:], ".")
	if dot < 0 {
		return "runtime" // assembly
	}
	return strings.ReplaceAll(function[:slash+dot], "%2e", ".")
}

// short leaves out what every path of an owner begins with.
func short(pkg string) string {
	return strings.TrimPrefix(strings.TrimPrefix(pkg, "github.com/klkube/kl/"), "github.com/")
}
