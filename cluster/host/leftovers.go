package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"k8s.io/apimachinery/pkg/util/wait"
)

// checkNew refuses a new cluster in a directory that holds more than a new one's: etcd's data would come back to life under a
// new authority, and volumes would show up in a cluster that never made them.
func checkNew(l cluster.Layout) error {
	if err := sweep(l); err != nil {
		return &cluster.Error{Op: "remove " + l.RemovedDir(), Err: err}
	}
	entries, err := os.ReadDir(l.Dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cluster.Damaged(l, l.Dir(), err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(l.DriverFile()) && !statefile.Temporary(e.Name()) { // the only files written before cluster.yaml
			return cluster.Damaged(l, l.SpecFile(), fmt.Errorf("%w, but %s exists", fs.ErrNotExist, e.Name()))
		}
	}
	return nil
}

// checkKeys refuses a cluster that has etcd's data and no keys, for which new ones would be made.
func checkKeys(l cluster.Layout) error {
	_, noKeys := os.Stat(l.PKI(""))
	if _, err := os.Stat(l.EtcdDir()); err == nil && errors.Is(noKeys, fs.ErrNotExist) {
		return cluster.Damaged(l, l.PKI("ca.crt"), fs.ErrNotExist)
	}
	return nil
}

// endStrays kills the processes that were started as the cluster's control plane, or its supervisor, whether or not a file shows them
// any more. Where there is no /proc it finds none.
func endStrays(ctx context.Context, l cluster.Layout) error {
	err := wait.PollUntilContextTimeout(ctx, pollInterval, stopTimeout, true, func(context.Context) (bool, error) {
		pids := strays(l)
		for _, pid := range pids {
			if err := send(pid, syscall.SIGKILL); err != nil {
				return false, err
			}
		}
		return len(pids) == 0, nil
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("stop control plane: processes %v do not end", strays(l))
	}
	return err
}

// strays finds the processes by their arguments: the role first, and the cluster's directory.
func strays(l cluster.Layout) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(line), "\x00") // empty for a zombie
		if len(args) < 3 || args[1] != SuperviseCommand && args[1] != string(cluster.ControlPlane) || !slices.Contains(args[2:], l.Dir()) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
