//go:build linux

package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Create makes the directory of a node and starts its supervisor. The directory is filled under a temporary name and then
// renamed, so a crash leaves either remains that the next cleanUp removes or a node that Delete can remove.
func (d *Driver) Create(ctx context.Context, spec cluster.NodeSpec) (cluster.Node, error) {
	n, err := d.create(ctx, spec)
	if err == nil {
		return n, nil
	}
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	var explained *cluster.Error
	if errors.As(err, &explained) && explained.Hint != "" {
		return cluster.Node{}, err
	}
	e := &cluster.Error{Op: "create node", Node: spec.Name, Err: err}
	if explained != nil {
		e.Log = explained.Log
	}
	if errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "address already in use") {
		e.Hint = "another program uses the port: choose another one, see `ss -lntp`"
	}
	return cluster.Node{}, e
}

func (d *Driver) create(ctx context.Context, spec cluster.NodeSpec) (cluster.Node, error) {
	if err := errors.Join(ctx.Err(), checkPaths(spec)); err != nil {
		return cluster.Node{}, err
	}
	b := d.bundle(spec.Cluster, spec.Name)
	lock, r, err := d.makeBundle(ctx, b, spec)
	if err != nil {
		return cluster.Node{}, err
	}
	defer lock.Unlock()
	err = d.launch(ctx, b)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return r.node(b.id(), cluster.NodeRunning), nil
	}
	undo, cancel := detach(ctx)
	defer cancel()
	return cluster.Node{}, errors.Join(err, d.destroy(undo, b), d.cleanUp(undo, spec.Cluster, false))
}

func (b bundle) id() string { return b.scope().id + "-" + b.name() }

// checkPaths rejects paths that runc would reject later, with a clearer error.
func checkPaths(spec cluster.NodeSpec) error {
	paths := []string{spec.TunnelDir, spec.NodeDir, spec.Payload.Rootfs, spec.Payload.Runc}
	for _, m := range spec.Mounts {
		paths = append(paths, m.Host)
	}
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("path %q is not absolute", p)
		}
		if _, err := os.Stat(p); err != nil {
			return err
		}
	}
	return nil
}

// makeBundle makes the node's directory and returns the lock on it.
func (d *Driver) makeBundle(ctx context.Context, b bundle, spec cluster.NodeSpec) (lock *statefile.Lock, r record, err error) {
	if err := statefile.MkdirAll(d.root, 0o711); err != nil {
		return nil, r, err
	}
	temp, err := os.MkdirTemp(d.root, ".new-")
	if err != nil {
		return nil, r, err
	}
	lock, err = statefile.WaitLockDir(ctx, temp) // the lock stays with the directory when that is renamed
	if err == nil {
		err = fillBundle(bundle{temp}, spec)
	}
	if err == nil {
		r, err = d.commit(ctx, b, temp, spec)
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(temp))
		if lock != nil {
			lock.Unlock()
		}
		undo, cancel := detach(ctx)
		defer cancel()
		return nil, r, errors.Join(err, d.cleanUp(undo, spec.Cluster, false))
	}
	return lock, r, nil
}

// fillBundle makes all files of a bundle that do not depend on the node's address.
func fillBundle(b bundle, spec cluster.NodeSpec) error {
	if err := os.Chmod(b.dir, 0o711); err != nil { // runc, and programs that run as other users, need to pass through it
		return err
	}
	for _, dir := range []string{b.upper(), b.work(), b.varDir(), b.rootfs()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	from := filepath.Join(spec.Payload.Rootfs, "var")
	if err := os.CopyFS(b.varDir(), os.DirFS(from)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("fill the node's /var: %w", err)
	}
	return nil
}

// commit chooses the address of a node, under the machine's lock, and renames its temporary directory into place. Other homes see
// which range is taken by the bridge, so that is there before the lock is given back.
func (d *Driver) commit(ctx context.Context, b bundle, temp string, spec cluster.NodeSpec) (record, error) {
	lock, err := lockMachine(ctx)
	if err != nil {
		return record{}, err
	}
	defer lock.Unlock()
	if _, err := os.Stat(b.dir); err == nil {
		return record{}, cluster.ErrNodeExists
	}
	records, err := d.records()
	if err != nil {
		return record{}, err
	}
	subnet, err := d.subnet(spec, records)
	if err != nil {
		return record{}, err
	}
	addr, err := cluster.NodeAddress(subnet, spec.Name, func(a netip.Addr) bool {
		for _, r := range records {
			if r.Spec.Cluster == spec.Cluster && r.Addr == a {
				return true
			}
		}
		return false
	})
	if err != nil {
		return record{}, err
	}
	r := record{Spec: spec, Subnet: subnet, Addr: addr, Created: time.Now().Truncate(time.Second)}
	if err := b.writeTo(filepath.Join(temp, "config.json"), r); err != nil {
		return record{}, err
	}
	if err := statefile.MkdirAll(b.clusterDir(), 0o711); err != nil {
		return record{}, err
	}
	if err := os.Rename(temp, b.dir); err != nil {
		return record{}, err
	}
	if _, err := d.scope(spec.Cluster).ensureBridge(subnet); err != nil {
		return record{}, errors.Join(err, os.RemoveAll(b.dir))
	}
	return r, statefile.SyncDir(b.clusterDir())
}

// subnet returns the range of the cluster's nodes, else of its bridge, else a free one.
func (d *Driver) subnet(spec cluster.NodeSpec, records []record) (netip.Prefix, error) {
	taken, err := cluster.HostPrefixes()
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, r := range records {
		if r.Spec.Cluster == spec.Cluster {
			return r.Subnet, nil
		}
		taken = append(taken, r.Subnet) // its bridge may not exist at the moment
	}
	if p, ok := d.scope(spec.Cluster).bridgeSubnet(); ok {
		return p, nil
	}
	return cluster.FreeSubnet(append(taken, spec.Avoid...))
}

// launch starts the supervisor of a node and waits for its report. If it returns an error, nothing runs any more.
func (d *Driver) launch(ctx context.Context, b bundle) error {
	for {
		ended, err := d.spawn(ctx, b)
		if errors.Is(err, errSupervised) {
			running, err := b.awaitOther(ctx)
			if err != nil {
				return d.giveUp(ctx, b, ended, err)
			}
			if running {
				return nil
			}
			continue
		}
		if err == nil || ended == nil {
			return err
		}
		return d.giveUp(ctx, b, ended, err)
	}
}

// awaitOther waits for a supervisor that a command has left which was killed, and which was quicker than ours. It reports whether
// that one has started the node, or has ended.
func (b bundle) awaitOther(ctx context.Context) (running bool, err error) {
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
		_, c, err := b.inspect()
		if running = c.Status == "running"; running || err != nil {
			return true, err
		}
		return b.unsupervised()
	})
	return running, err
}

// giveUp ends a node that could not be started, and its supervisor.
func (d *Driver) giveUp(ctx context.Context, b bundle, ended <-chan struct{}, err error) error {
	undo, cancel := detach(ctx)
	defer cancel()
	err = errors.Join(err, b.halt(undo, 0)) // ends the supervisor too
	select {
	case <-ended:
	case <-undo.Done():
		err = errors.Join(err, errors.New("the node's supervisor is still running"))
	}
	return err
}

// spawn starts the supervisor and waits for its report. ended is closed when the process has ended; it is nil if the
// process could not be started.
func (d *Driver) spawn(ctx context.Context, b bundle) (ended <-chan struct{}, err error) {
	log, err := statefile.OpenLog(b.supervisorLog(), 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if err := log.Truncate(0); err != nil {
		return nil, err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	cmd := exec.Command(d.supervisor, SuperviseCommand, b.dir) //nolint:noctx // outlives this process
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "GOMAXPROCS=1", "GOGC=50")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("start the node's supervisor: %w", err)
	}
	gone := make(chan struct{})
	go func() { // reaps the supervisor if it ends before this process does
		_ = cmd.Wait()
		close(gone)
	}()
	stop := context.AfterFunc(ctx, func() { _ = ours.SetReadDeadline(time.Now()) })
	defer stop()
	var answer report
	if err := json.NewDecoder(ours).Decode(&answer); err != nil {
		if ctx.Err() != nil {
			return gone, ctx.Err()
		}
		text, _ := statefile.Read(log.Name()) // an unreadable log explains nothing, err still counts
		return gone, &cluster.Error{Op: "start the node's supervisor", Err: err, Log: strings.Split(strings.TrimSpace(string(text)), "\n")}
	}
	if answer.Supervised {
		return gone, errSupervised
	}
	if answer.Error != "" {
		return gone, &cluster.Error{Op: "start node", Node: b.name(), Err: errors.New(answer.Error), Log: answer.Log}
	}
	return gone, nil
}
