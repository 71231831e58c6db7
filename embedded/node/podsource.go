package node

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	upstream "k8s.io/kubernetes/pkg/kubelet"
	podconfig "k8s.io/kubernetes/pkg/kubelet/config"
	kubelettypes "k8s.io/kubernetes/pkg/kubelet/types"
	kubeletutil "k8s.io/kubernetes/pkg/kubelet/util"
)

// nodeInterval is how often the kubelet looks whether it knows its Node.
const nodeInterval = 10 * time.Millisecond

// watchPodsEarly has a kubelet ask for its pods as soon as it knows its Node, without which it would refuse pods whose affinity it cannot
// judge. Upstream looks for the Node once a second, which a new node's first pods, and all pods after a restart, would wait for. Where pods come
// from is otherwise as upstream has it; a kubelet that gets some from a URL, as nobody's does, is left alone.
func watchPodsEarly(ctx context.Context, server *options.KubeletServer, deps *upstream.Dependencies) {
	if server.StaticPodURL != "" {
		return
	}
	if deps.PodStartupLatencyTracker == nil {
		deps.PodStartupLatencyTracker = kubeletutil.NewPodStartupLatencyTracker()
	}
	logger, name := klog.FromContext(ctx), types.NodeName(server.HostnameOverride)
	deps.PodConfig = podconfig.NewPodConfig(lateRecorder{deps}, deps.PodStartupLatencyTracker)
	pods := deps.PodConfig.Channel(ctx, kubelettypes.ApiserverSource)
	deps.Options = append(deps.Options, func(k *upstream.Kubelet) { // it is made, and does not run yet
		go func() {
			if awaitNode(ctx, k) == nil {
				podconfig.NewSourceApiserver(logger, deps.KubeClient, name, func() bool { return true }, pods)
			}
		}()
	})
	if path := server.StaticPodPath; path != "" {
		static := deps.PodConfig.Channel(ctx, kubelettypes.FileSource)
		deps.Options = append(deps.Options, func(*upstream.Kubelet) {
			podconfig.NewSourceFile(logger, path, name, server.FileCheckFrequency.Duration, static)
		})
	}
}

// awaitNode returns nil when a kubelet knows its Node, or ctx's error.
func awaitNode(ctx context.Context, k *upstream.Kubelet) error {
	tick := time.NewTicker(nodeInterval)
	defer tick.Stop()
	for {
		if _, err := k.GetNode(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// lateRecorder records with the recorder that the kubelet makes when it starts.
type lateRecorder struct{ deps *upstream.Dependencies }

var _ record.EventRecorderLogger = lateRecorder{}

func (r lateRecorder) Event(o runtime.Object, kind, reason, message string) {
	r.deps.Recorder.Event(o, kind, reason, message)
}

func (r lateRecorder) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	r.deps.Recorder.Eventf(o, kind, reason, format, args...)
}

func (r lateRecorder) AnnotatedEventf(o runtime.Object, annotations map[string]string, kind, reason, format string, args ...any) {
	r.deps.Recorder.AnnotatedEventf(o, annotations, kind, reason, format, args...)
}

func (r lateRecorder) WithLogger(logger klog.Logger) record.EventRecorderLogger {
	return r.deps.Recorder.WithLogger(logger)
}
