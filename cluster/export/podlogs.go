package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
)

const (
	podLogsLimit = 2 * time.Minute
	podLogLimit  = 20 * time.Second // for one log
	maxPodLog    = 2 << 20          // bytes of one log that are taken, the last ones
	maxPodLines  = 100_000          // lines that a kubelet is asked for
	varLogPods   = "log/pods"       // below /var of a node; NAMESPACE_POD_UID/CONTAINER/0.log
)

// podLogs are logs of all containers, present and previous. They come from the API, and from the files of nodes whose kubelets it does not
// reach.
func podLogs(s *sight) part {
	return part{"logs of pods", podLogsLimit, func(ctx context.Context, to *Folder) error {
		if s.api == nil {
			return fromFiles(ctx, s, to, func(string) bool { return true })
		}
		unreached := readPods(ctx, s, to)
		if len(unreached) == 0 {
			return ctx.Err()
		}
		return fromFiles(ctx, s, to, func(node string) bool { return unreached[node] })
	}}
}

// containerLog is one log of a container.
type containerLog struct {
	pod       *corev1.Pod
	container string
	previous  bool
}

func (l containerLog) file() string {
	name := safe(l.container)
	if l.previous {
		name += ".previous"
	}
	return path.Join("pods", safe(l.pod.Namespace), safe(l.pod.Name), name+".log")
}

// readPods reads logs through the API and returns the nodes whose kubelets did not answer.
func readPods(ctx context.Context, s *sight, to *Folder) map[string]bool {
	simulated := map[string]bool{}
	for _, n := range s.nodes {
		simulated[n.Name] = cluster.IsSimulated(n.Labels)
	}
	var list []containerLog
	for _, p := range broken(s.pods) {
		if p.Spec.NodeName != "" && !simulated[p.Spec.NodeName] {
			list = append(list, logsOf(p)...)
		}
	}
	var mu sync.Mutex
	unreached := map[string]bool{}
	each(ctx, list, func(l containerLog) {
		mu.Lock()
		skip := unreached[l.pod.Spec.NodeName]
		mu.Unlock()
		if skip {
			return
		}
		err := readLog(ctx, s.api, to, l)
		var answer apierrors.APIStatus
		if err != nil && (!errors.As(err, &answer) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || apierrors.IsTimeout(err)) && ctx.Err() == nil {
			mu.Lock()
			unreached[l.pod.Spec.NodeName] = true
			mu.Unlock()
		}
		to.Miss(l.file(), err)
	})
	return unreached
}

// broken returns pods with those first that do not run, in case the time does not suffice for all.
func broken(pods []corev1.Pod) []*corev1.Pod {
	list, now := pointers(pods), time.Now()
	slices.SortStableFunc(list, func(a, b *corev1.Pod) int {
		return int(observe.PodStateOf(b, now).Level) - int(observe.PodStateOf(a, now).Level)
	})
	return list
}

// logsOf lists the logs that a pod has.
func logsOf(p *corev1.Pod) (list []containerLog) {
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, c := range statuses {
			if c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil {
				list = append(list, containerLog{p, c.Name, false})
			}
			if c.LastTerminationState.Terminated != nil && c.RestartCount > 0 {
				list = append(list, containerLog{p, c.Name, true})
			}
		}
	}
	return list
}

func readLog(ctx context.Context, api *clients, to *Folder, l containerLog) error {
	ctx, cancel := context.WithTimeout(ctx, podLogLimit)
	defer cancel()
	lines := int64(maxPodLines)
	o := &corev1.PodLogOptions{Container: l.container, Previous: l.previous, Timestamps: true, TailLines: &lines}
	r, err := api.kubernetes.CoreV1().Pods(l.pod.Namespace).GetLogs(l.pod.Name, o).Stream(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	tail := &tailWriter{max: maxPodLog}
	err = copyContext(ctx, tail, r)
	about := "log of a container"
	if l.previous {
		about = "log of the container before it restarted"
	}
	if err != nil && len(tail.data) == 0 {
		return err
	}
	return errors.Join(err, to.Write(l.file(), about, tail.rest()))
}

// fromFiles copies logs of pods from the files of nodes: from this machine if they are kept here, else by commands in nodes that run.
func fromFiles(ctx context.Context, s *sight, to *Folder, wanted func(node string) bool) error {
	if filer, ok := s.driver.(cluster.Filer); ok {
		for _, n := range s.info.Nodes {
			if _, dir := filer.Files(n); wanted(n.Name) {
				to.Miss("logs of pods on node "+n.Name, copyPods(ctx, to, n.Name, dir))
			}
		}
		return ctx.Err()
	}
	nodes, execer := s.running(to)
	each(ctx, nodes, func(n cluster.Node) {
		if wanted(n.Name) {
			to.Miss("logs of pods on node "+n.Name, catPods(ctx, to, execer, n))
		}
	})
	return ctx.Err()
}

// copyPods copies logs of pods from a node's /var, in which the node may do what it wants: no link leads out of it.
func copyPods(ctx context.Context, to *Folder, node, varDir string) error {
	r, err := os.OpenRoot(varDir)
	if err != nil {
		return err
	}
	defer r.Close()
	err = fs.WalkDir(r.FS(), varLogPods, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !d.Type().IsRegular():
			return nil
		}
		rest := strings.TrimPrefix(file, varLogPods+"/")
		to.Miss(rest, copyFile(ctx, to, varDir, filepath.FromSlash(file), podFile(node, rest), "log of a container, from its node's files"))
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the node has none")
	}
	return err
}

// podFile is where a log of a node's files is in the bundle.
func podFile(node, file string) string {
	parts := strings.Split(file, "/")
	for i := range parts {
		parts[i] = safe(parts[i])
	}
	return path.Join("nodes", safe(node), "pods", path.Join(parts...))
}

// catPods is copyPods for a node that is reached by commands alone.
func catPods(ctx context.Context, to *Folder, x cluster.Execer, n cluster.Node) error {
	list, err := output(ctx, x, n, "find", "/var/"+varLogPods, "-type", "f")
	if err != nil {
		return err
	}
	for file := range strings.Lines(string(list)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(file), "/var/"+varLogPods+"/")
		if !ok || strings.Contains("/"+rest+"/", "/../") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := output(ctx, x, n, "tail", "-c", fmt.Sprint(maxPodLog), "/var/"+varLogPods+"/"+rest)
		if err == nil {
			err = to.Write(podFile(n.Name, rest), "log of a container, from its node's files", data)
		}
		to.Miss(n.Name+": "+rest, err)
	}
	return nil
}

// output runs a command in a node and returns what it prints.
func output(ctx context.Context, x cluster.Execer, n cluster.Node, command ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, podLogLimit)
	defer cancel()
	out, stderr := &tailWriter{max: maxLog}, &bytes.Buffer{}
	code, err := x.Exec(ctx, n, cluster.ExecSpec{Cmd: command, Stdout: out, Stderr: io.Writer(stderr)})
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s", command[0], code, strings.TrimSpace(stderr.String()))
	}
	return out.rest(), err
}
