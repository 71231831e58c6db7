package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"
)

func TestOwnerAndWorker(t *testing.T) {
	for _, tt := range []struct {
		name          string
		stack         string // outermost first
		owner, worker string
	}{
		{"component of kl", "github.com/klkube/kl/embedded/lifecycle.(*Supervisor).once github.com/klkube/kl/embedded/controlplane.(*apiServer).Run k8s.io/apiserver/pkg/server.Install encoding/json.Marshal reflect.Value.Field",
			"embedded/controlplane.apiServer", "encoding/json"},
		{"component of kl that is no pointer", "github.com/klkube/kl/embedded/node.session.Run.func1 libp2p.org/yamux.Dial", "embedded/node.session", "libp2p.org/yamux"},
		{"function of kl", "github.com/klkube/kl/embedded/node.holdAddresses.(*addresses).hold-fm os.Open", "embedded/node.holdAddresses", "os"},
		{"request", "net/http.(*conn).serve golang.org/x/net/http2.(*Server).run k8s.io/apiserver/pkg/server.DefaultBuildHandlerChain.func1 k8s.io/kube-openapi/pkg/cached.Get runtime.mallocgc",
			"kube-apiserver", "k8s.io/kube-openapi/pkg/cached"},
		{"loop", "k8s.io/apimachinery/pkg/util/wait.JitterUntil k8s.io/kubernetes/pkg/kubelet.(*Kubelet).syncLoop syscall.Syscall", "kubelet", "syscall"},
		{"collection", "runtime.systemstack runtime.gcBgMarkWorker runtime.gcDrain", "Go: garbage collection", "Go: garbage collection"},
		{"assist", "go.etcd.io/raft/v3.(*node).run runtime.mallocgc runtime.gcAssistAlloc", "Go: garbage collection", "Go: garbage collection"},
		{"scheduler", "runtime.mcall runtime.park_m runtime.findRunnable", "Go: scheduling, timers and wake-ups", "Go: scheduling, timers and wake-ups"},
		{"standard library alone", "net/http.(*conn).serve net/http.(*conn).readRequest", "net/http", "net/http"},
		{"type argument with a path", "k8s.io/client-go/gentype.(*Client[go.shape.*k8s.io/api/core/v1.Pod]).List", "k8s.io/client-go/gentype", "k8s.io/client-go/gentype"},
		{"escaped dot", "gopkg.in/yaml%2ev3.Unmarshal", "gopkg.in/yaml.v3", "gopkg.in/yaml.v3"},
		{"assembly", "aeshashbody", "Go: others", "Go: others"},
		{"nothing", "", "Go: others", "Go: others"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frames := strings.Fields(tt.stack)
			if got := owner(frames); got != tt.owner {
				t.Errorf("owner is %q, want %q", got, tt.owner)
			}
			if got := worker(frames); got != tt.worker {
				t.Errorf("worker is %q, want %q", got, tt.worker)
			}
		})
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	if err := report(&bytes.Buffer{}, dir); err == nil || !strings.Contains(err.Error(), "run make profile") {
		t.Errorf("of an empty directory: %v", err)
	}
	program := filepath.Join(dir, "control-plane")
	if err := os.Mkdir(program, 0o700); err != nil {
		t.Fatal(err)
	}
	json := `{"seconds": 4, "user": 0.75, "system": 0.25, "init": 0.1, "voluntary": 400, "involuntary": 40, "collections": 2, "allocated": 3000000, "live": 9000000, "goroutines": 7, "threads": 5}`
	if err := os.WriteFile(filepath.Join(program, "start.json"), []byte(json), 0o600); err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	p := cpuProfile(4*time.Second, map[string]time.Duration{
		"main.main k8s.io/kubernetes/pkg/scheduler.Run k8s.io/kubernetes/pkg/scheduler.next k8s.io/apimachinery/pkg/labels.Parse": 750 * time.Millisecond,
		"runtime.mcall runtime.schedule": 249 * time.Millisecond,
		"net.Dial":                       time.Millisecond,
	})
	if err := p.Write(&data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(program, "start.pprof"), data.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := report(&got, dir); err != nil {
		t.Fatal(err)
	}
	want := `== control-plane, start: 4.0 s, 1.00 s of CPU (0.75 user, 0.25 system), 25.00 % of a core
   100 wake-ups/s, 10 preemptions/s, 2 collections, 3 MB allocated, 9 MB of heap, 7 goroutines, 5 threads
   100 ms of CPU were before main, where Go initializes packages: GODEBUG=inittrace=1 kl-engine version shows which
       ms      %  % core  on behalf of
      750   75.0   18.75  kube-scheduler
      249   24.9    6.22  Go: scheduling, timers and wake-ups
       ms      %  % core  at work in
      750   75.0   18.75  k8s.io/apimachinery/pkg/labels
      249   24.9    6.22  Go: scheduling, timers and wake-ups
       ms      %  % core  through
      750   75.0   18.75  k8s.io/apimachinery/pkg/labels
      750   75.0   18.75  k8s.io/kubernetes/pkg/scheduler

`
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
}

// cpuProfile makes a profile of stacks, outermost function first.
func cpuProfile(during time.Duration, stacks map[string]time.Duration) *profile.Profile {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}, DurationNanos: during.Nanoseconds(),
	}
	for stack, d := range stacks {
		sample := &profile.Sample{Value: []int64{1, d.Nanoseconds()}}
		for _, name := range strings.Fields(stack) {
			f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: name}
			l := &profile.Location{ID: f.ID, Line: []profile.Line{{Function: f}}}
			p.Function, p.Location = append(p.Function, f), append(p.Location, l)
			sample.Location = append([]*profile.Location{l}, sample.Location...)
		}
		p.Sample = append(p.Sample, sample)
	}
	return p
}
