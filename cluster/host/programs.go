package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
)

// restartPrograms restarts kubelet, kube-proxy and agent of every running node, so that they read their configuration, and
// returns once they serve again. Containers keep running: their shims do not belong to these programs.
func (c *change) restartPrograms(ctx context.Context) error {
	e, ok := c.driver.(cluster.Execer)
	if !ok {
		return nil // no real nodes
	}
	return c.steps.within(ctx, cluster.StepNodePrograms, func() (string, error) {
		g, ctx := errgroup.WithContext(ctx)
		for _, n := range c.nodes {
			if n.State == cluster.NodeRunning {
				g.Go(func() error { return c.restartNodePrograms(ctx, e, n) })
			}
		}
		return "restarted", g.Wait()
	})
}

// programScript looks for `kl-engine node`: a child of kl-init, since a pod may run a process of the same name. With the
// argument "end" it ends that program and prints its process ID. With another process ID as argument, it prints the program's
// own, and succeeds if that is another one and the kubelet listens on port 10248. The node's busybox has no pkill, and its
// wget crashes.
const programScript = `program() {
	for d in /proc/[0-9]*; do
		if [ "$(tr '\0' ' ' <$d/cmdline)" = "/usr/local/bin/kl-engine node " ] && grep -q '^PPid:.1$' $d/status; then
			echo ${d#/proc/}
			return
		fi
	done 2>/dev/null
}
pid=$(program)
echo $pid
if [ "$1" = end ]; then
	[ -z "$pid" ] || kill $pid
	exit
fi
[ -n "$pid" ] && [ "$pid" != "$1" ] && grep -q '^ *[0-9]*: 0100007F:2808 [0-9A-F:]* 0A ' /proc/net/tcp`

// programError begins the last line of a program that ends with an error.
const programError = "kl-engine node: "

const (
	programsTimeout = time.Minute
	programsPoll    = 500 * time.Millisecond
	programsProof   = 2 * time.Second // a program that lives for this long, with a node that is Ready again, is well
	programsSteady  = 8 * time.Second // and for this long without news: the kubelet ends sooner if it cannot manage containers
	programsTries   = 2               // of processes: the next one will end, too
)

// restartNodePrograms ends a node's program, which kl-init starts again, and waits until the new one does its work: the
// kubelet has reported the node as Ready once more. A kubelet can answer and end a moment later.
func (c *change) restartNodePrograms(ctx context.Context, e cluster.Execer, n cluster.Node) error {
	before := c.heartbeat(ctx, n.Name)
	pid, code, err := runProgramScript(ctx, e, n, "end")
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return &cluster.Error{Op: "restart programs", Node: n.Name, Err: err}
	}
	seen, last, since := map[string]bool{}, "", time.Now()
	err = wait.PollUntilContextTimeout(ctx, programsPoll, programsTimeout, true, func(ctx context.Context) (bool, error) {
		now, code, err := runProgramScript(ctx, e, n, pid)
		if now != last || code != 0 || err != nil {
			last, since = now, time.Now()
		}
		if now != "" && now != pid {
			seen[now] = true
		}
		switch {
		case err != nil:
			return false, err
		case len(seen) > programsTries:
			return false, errors.New("its programs end again and again")
		case code != 0:
			return false, nil
		}
		beat := c.heartbeat(ctx, n.Name)
		lives := time.Since(since)
		return strings.HasPrefix(beat, "True") && beat != before && lives > programsProof || lives > programsSteady && notWorse(before, beat), nil
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case wait.Interrupted(err):
		err = fmt.Errorf("the kubelet does not serve within %s", programsTimeout)
	}
	log := tail(c.layout.NodeLogFile(n.Name, "node"))
	if len(seen) > programsTries {
		log = tailTo(c.layout.NodeLogFile(n.Name, "node"), programError)
		if reason, ok := strings.CutPrefix(strings.Join(log[max(0, len(log)-1):], ""), programError); ok {
			err = fmt.Errorf("%w: %s", err, reason)
		}
	}
	return &cluster.Error{Op: "restart programs", Node: n.Name, Err: err, Log: log}
}

// notWorse reports whether a node is Ready if it was before.
func notWorse(before, now string) bool {
	return !strings.HasPrefix(before, "True") || strings.HasPrefix(now, "True")
}

// heartbeat is the status of a node's Ready condition and the time at which the kubelet reported it; empty if unknown.
func (c *change) heartbeat(ctx context.Context, node string) string {
	if c.host.Kubectl == nil {
		return ""
	}
	var out strings.Builder
	err := c.host.Kubectl(ctx, c.layout, &out, "get", "node", node, "--request-timeout=5s",
		"-o", `jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.lastHeartbeatTime}{end}`)
	if err != nil {
		return ""
	}
	return out.String()
}

func runProgramScript(ctx context.Context, e cluster.Execer, n cluster.Node, argument string) (pid string, code int, err error) {
	var out strings.Builder
	code, err = e.Exec(ctx, n, cluster.ExecSpec{Cmd: []string{"/bin/sh", "-c", programScript, "sh", argument}, Stdout: &out, Stderr: io.Discard})
	return strings.TrimSpace(out.String()), code, err
}
