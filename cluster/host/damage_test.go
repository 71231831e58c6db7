package host_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// ruins are the ways in which a file is damaged.
func ruins() map[string]func(path string) error {
	write := func(content string) func(path string) error {
		return func(path string) error {
			if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
				if err := os.RemoveAll(path); err != nil {
					return err
				}
			}
			return os.WriteFile(path, []byte(content), 0o600) // in place, as the locks are on files
		}
	}
	return map[string]func(path string) error{
		"empty": write(""), "garbage": write("\x00{garbage: ]"),
		"missing": os.RemoveAll,
		"pipe":    func(path string) error { return errors.Join(os.RemoveAll(path), syscall.Mkfifo(path, 0o600)) },
		"link to nothing": func(path string) error {
			return errors.Join(os.RemoveAll(path), os.Symlink("/nonexistent/file", path))
		},
		"directory": func(path string) error {
			return errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Join(path, "x"), 0o700))
		},
	}
}

// TestDownRemovesWhatIsDamaged damages files of a cluster that runs, one by one and all at once: down must remove it, with its
// processes, and another cluster must not notice.
func TestDownRemovesWhatIsDamaged(t *testing.T) {
	b := newBench(t)
	other := request(0)
	other.Name = "other"
	b.mustUp(t, other)
	l := b.Home.Cluster("demo")
	files := []string{
		l.SpecFile(), l.PIDFile(), l.SupervisorFile(), l.MergedFile(), l.DriverFile(), l.Kubeconfig(), l.StatusSocket(), l.PKI("ca.crt"),
		l.NodeStoppedFile("n1"), l.NodeDir("n1"), l.RunDir(), l.Dir(), l.LockFile(), "all",
	}
	for _, file := range files {
		for name, ruin := range ruins() {
			if file == l.LockFile() && name == "missing" {
				continue // it is, while nothing works on the cluster
			}
			t.Run(strings.TrimPrefix(file, string(b.Home)+"/")+" "+name, func(t *testing.T) {
				b.mustUp(t, request(1))
				for _, path := range targets(t, l, file) {
					if err := ruin(path); err != nil {
						t.Fatal(err)
					}
				}
				infos, err := b.List(t.Context())
				if err != nil || infos[len(infos)-1].Name != "other" || infos[len(infos)-1].Phase != cluster.PhaseReady || len(infos[len(infos)-1].Problems) > 0 {
					t.Errorf("list: %+v, %v", infos, err)
				}
				if _, err := b.Down(t.Context(), "demo"); err != nil {
					t.Fatalf("down: %s", describe(err))
				}
				for _, path := range []string{l.Dir(), l.RemovedDir()} {
					if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s is left: %v", path, err)
					}
				}
				if dump := b.fake.Dump(); strings.Contains(dump, "demo") {
					t.Errorf("the driver still has:\n%s", dump)
				}
				if left := planes(l); len(left) > 0 {
					t.Errorf("processes are left: %q", left)
				}
			})
		}
	}
}

// targets are the files to damage: the one, or every file of the cluster.
func targets(t *testing.T, l cluster.Layout, file string) []string {
	t.Helper()
	if file != "all" {
		return []string{file}
	}
	var all []string
	err := filepath.WalkDir(l.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// planes returns the command lines of processes that were started for a cluster.
func planes(l cluster.Layout) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), "\x00"+l.Dir()+"\x00") {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func TestADamagedClusterIsShownAsSuch(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	if err := b.Stop(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	l := b.Home.Cluster("demo")
	for name, ruin := range ruins() {
		if err := errors.Join(os.RemoveAll(l.SpecFile()), ruin(l.SpecFile())); err != nil {
			t.Fatal(err)
		}
		info, err := b.Inspect(t.Context(), "demo")
		if err != nil || info.Phase != cluster.PhaseDamaged || !strings.Contains(strings.Join(info.Problems, "\n"), l.SpecFile()) {
			t.Errorf("%s: %s with problems %q, %v; want Damaged, and the file", name, info.Phase, info.Problems, err)
		}
	}
}

// TestOldDataDoesNotComeBackUnderNewKeys takes away what a removal that was interrupted may have removed already.
func TestOldDataDoesNotComeBackUnderNewKeys(t *testing.T) {
	b := newBench(t)
	l := b.Home.Cluster("demo")
	for _, gone := range [][]string{{l.SpecFile(), l.PKI("")}, {l.PKI("")}, {l.SpecFile(), l.PKI(""), l.NodeDir(""), l.RunDir()}} {
		b.mustUp(t, request(1))
		if err := os.MkdirAll(l.EtcdDir(), 0o700); err != nil { // which the fake control plane does not make
			t.Fatal(err)
		}
		if err := b.Stop(t.Context(), "demo"); err != nil {
			t.Fatal(err)
		}
		for _, path := range gone {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
		_, err := b.Up(t.Context(), request(1), host.UpOptions{Timeout: time.Minute})
		var explained *cluster.Error
		if !errors.As(err, &explained) || !strings.Contains(explained.Hint, "kl down --name demo") {
			t.Errorf("up without %q: %s, want an error that says what to do", gone, describe(err))
		}
		if _, err := os.Stat(l.EtcdDir()); err != nil {
			t.Errorf("the data is gone: %v", err)
		}
		if _, err := b.Down(t.Context(), "demo"); err != nil {
			t.Fatal(describe(err))
		}
	}
	if err := os.MkdirAll(filepath.Join(l.RemovedDir(), "etcd"), 0o700); err != nil { // of a removal that ended in its last step
		t.Fatal(err)
	}
	b.mustUp(t, request(0))
	if _, err := os.Stat(l.RemovedDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", l.RemovedDir(), err)
	}
}
