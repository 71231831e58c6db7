package critest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"sigs.k8s.io/cri-tools/pkg/framework"
)

// Places of the daemon, below the root of a node. The first is on the node's disk, since overlayfs cannot be stacked on itself.
const (
	dataDir    = "/var/lib/containerd/kl-cri-check"
	runDir     = "/run/kl-cri-check"
	configFile = "/etc/containerd/config.toml" // of the node's own daemon
	networks   = "/etc/cni/net.d"
	cgroupRoot = "/sys/fs/cgroup"
	podCgroup  = "k8s.io" // where containerd puts pods that name no cgroup, as the kubelet's do
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
)

// daemon is a containerd with the node's configuration, and directories of its own.
type daemon struct {
	cmd        *exec.Cmd
	exited     chan error // has the error once, when the process has ended
	oldCgroups []string   // those that were there before
	hostPorts  bool       // whether the table of host ports was there before
}

func logFile() string { return filepath.Join(runDir, "containerd.log") }

func socket() string { return filepath.Join(runDir, "containerd.sock") }

// startDaemon starts the daemon, which gets all images from the registry, and waits until it answers. If that fails, nothing is left.
func startDaemon(ctx context.Context, registry string) (*daemon, error) {
	if found, err := filepath.Glob(networks + "/*.conf*"); err != nil || len(found) == 0 {
		return nil, errors.New("the node has no pod network: " + networks + " is empty")
	}
	d := &daemon{exited: make(chan error, 1), oldCgroups: podCgroups(), hostPorts: hasHostPorts()}
	if err := writeConfig(registry); err != nil {
		return nil, errors.Join(err, d.remove())
	}
	d.cmd = exec.Command("kl-engine", "containerd", "--config", filepath.Join(runDir, "config.toml"), //nolint:noctx // ends in stop
		"--root", filepath.Join(dataDir, "root"), "--state", filepath.Join(runDir, "state"), "--address", socket(), "--log-level", "warn")
	log, err := os.Create(logFile())
	if err != nil {
		return nil, errors.Join(err, d.remove())
	}
	defer log.Close()
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM} // Ctrl-C is for the suite alone
	if err := d.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start containerd: %w", err), d.remove())
	}
	go func() { d.exited <- d.cmd.Wait() }()
	if err := d.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start containerd: %w", err), d.stop(ctx))
	}
	return d, nil
}

// writeConfig writes the node's configuration, with the registry instead of all others.
func writeConfig(registry string) error {
	for _, dir := range []string{filepath.Join(runDir, "certs/_default"), filepath.Join(dataDir, "tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(configFile)
	if err != nil {
		return err
	}
	config, err := useRegistryDir(string(b), filepath.Join(runDir, "certs"))
	if err != nil {
		return fmt.Errorf("read %s: %w", configFile, err)
	}
	hosts := fmt.Sprintf("server = \"http://%[1]s\"\n\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", registry)
	return errors.Join(
		os.WriteFile(filepath.Join(runDir, "certs/_default/hosts.toml"), []byte(hosts), 0o644),
		os.WriteFile(filepath.Join(runDir, "config.toml"), []byte(config), 0o644))
}

// useRegistryDir replaces the directory where containerd's configuration has the registries.
func useRegistryDir(config, dir string) (string, error) {
	line := regexp.MustCompile(`(?m)^(\s*config_path = ).*$`)
	if n := len(line.FindAllString(config, -1)); n != 1 {
		return "", fmt.Errorf("want one line config_path, found %d", n)
	}
	return line.ReplaceAllString(config, fmt.Sprintf("${1}%q", dir)), nil
}

// await waits until the daemon says that it and its network are ready.
func (d *daemon) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready within %s", startTimeout))
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	last := errors.New("no answer")
	for {
		select {
		case err := <-d.exited:
			d.exited <- err
			return fmt.Errorf("ended: %w: %s", err, lastLines(logFile(), 3))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w: %s", context.Cause(ctx), last, lastLines(logFile(), 3))
		case <-poll.C:
		}
		if _, err := os.Stat(socket()); err != nil { // the client would wait for it in seconds
			continue
		}
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
	}
}

func ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := framework.LoadCRIClient()
	if err != nil {
		return err
	}
	s, err := c.CRIRuntimeClient.Status(ctx, false)
	if err != nil {
		return err
	}
	for _, condition := range s.GetStatus().GetConditions() { // there are others, such as one that warns of old settings
		required := []string{runtimeapi.RuntimeReady, runtimeapi.NetworkReady}
		if slices.Contains(required, condition.GetType()) && !condition.GetStatus() {
			return fmt.Errorf("%s: %s", condition.GetType(), condition.GetMessage())
		}
	}
	return nil
}

// stop removes every pod, ends the daemon and removes all that it had, also after ctx has ended.
func (d *daemon) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	// What cannot be removed through a daemon that is broken goes with its processes, mounts and files.
	_ = removePods(ctx)
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited: //nolint:errcheck // how it ended does not matter
	case <-ctx.Done():
		_ = d.cmd.Process.Kill()
		<-d.exited //nolint:errcheck // how it ended does not matter
	}
	return d.remove()
}

// removePods removes all pods of the daemon.
func removePods(ctx context.Context) error {
	c, err := framework.LoadCRIClient()
	if err != nil {
		return err
	}
	pods, err := c.CRIRuntimeClient.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{})
	if err != nil {
		return err
	}
	for _, p := range pods {
		err = errors.Join(err, c.CRIRuntimeClient.StopPodSandbox(ctx, p.GetId()), c.CRIRuntimeClient.RemovePodSandbox(ctx, p.GetId()))
	}
	return err
}

// remove ends processes that outlived the daemon and removes mounts, files, cgroups and shared memory.
func (d *daemon) remove() error {
	errs := []error{killShims(), removeSegments(filepath.Join(dataDir, "tmp")), unmountBelow(dataDir, runDir)}
	for _, dir := range []string{dataDir, runDir} {
		errs = append(errs, os.RemoveAll(dir))
	}
	if !d.hostPorts {
		errs = append(errs, removeHostPorts())
	}
	for _, c := range podCgroups() {
		if !slices.Contains(d.oldCgroups, c) {
			errs = append(errs, removeCgroup(c))
		}
	}
	return errors.Join(errs...)
}

func hasHostPorts() bool {
	return exec.Command("nft", append([]string{"list"}, hostPortTable()...)...).Run() == nil //nolint:noctx // brief
}

// hostPortTable is the table that the CNI plugin of host ports makes and leaves behind, as arguments of nft.
func hostPortTable() []string { return []string{"table", "ip", "cni_hostport"} }

// removeHostPorts removes the table of host ports, unless a pod has got one meanwhile.
func removeHostPorts() error {
	rules, err := exec.Command("nft", append([]string{"list"}, hostPortTable()...)...).Output() //nolint:noctx // brief
	if err != nil || strings.Contains(string(rules), " dnat ") {
		return nil // it is not there, or used
	}
	return exec.Command("nft", append([]string{"delete"}, hostPortTable()...)...).Run() //nolint:noctx // brief
}

// killShims kills the shims of the daemon, which are found by its socket, since they were started with that. Their containers
// run on until their cgroup is removed.
func killShims() error {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil { // it has ended
			continue
		}
		args := strings.Split(string(b), "\x00")
		if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") || !slices.Contains(args, socket()) {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(filepath.Base(filepath.Dir(file)), &pid); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL) // or it has ended
		}
	}
	return nil
}

// unmountBelow unmounts everything below the directories, the last mount first.
func unmountBelow(dirs ...string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, line := range slices.Backward(lines) {
		f := strings.Fields(line)
		if len(f) < 5 || !slices.ContainsFunc(dirs, func(d string) bool { return strings.HasPrefix(f[4], d+"/") }) {
			continue
		}
		if err := unix.Unmount(f[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", f[4], err)
		}
	}
	return nil
}

// podCgroups are the cgroups that the daemon's pods are in, in each hierarchy of version 1, as far as they exist.
func podCgroups() []string {
	one, _ := filepath.Glob(filepath.Join(cgroupRoot, podCgroup)) // the pattern is valid
	all, _ := filepath.Glob(filepath.Join(cgroupRoot, "*", podCgroup))
	return append(one, all...)
}

// removeCgroup kills what is in a cgroup, and removes it and all below.
func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return nil // it may have gone meanwhile
	})
	for _, d := range slices.Backward(dirs) {
		err = errors.Join(err, removeEmptied(d))
	}
	return err
}

// removeEmptied kills the processes of a cgroup until it can be removed.
func removeEmptied(dir string) error {
	deadline := time.After(stopTimeout)
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for line := range strings.Lines(string(b)) {
			var pid int
			if _, err := fmt.Sscan(line, &pid); err == nil && pid > 0 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		select {
		case <-deadline:
			return fmt.Errorf("remove %s: %w", dir, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastLines are the last lines of a log, as one.
func lastLines(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
