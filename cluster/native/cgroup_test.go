//go:build linux

package native

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster"
)

func TestDelegateCgroup(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		busy  bool // while there are processes in the root
		want  []string
	}{
		{"cgroup v1", map[string]string{"memory/tasks": ""}, false, nil},
		{"the real root", map[string]string{"cgroup.controllers": "cpu memory\n", "cgroup.subtree_control": "\n"}, true, nil},
		{"enabled already", map[string]string{
			"cgroup.type": "domain\n", "cgroup.controllers": "cpuset cpu\n", "cgroup.subtree_control": "cpuset cpu\n",
		}, true, nil},
		{"a container without processes in its root", map[string]string{
			"cgroup.type": "domain\n", "cgroup.controllers": "cpuset cpu memory\n", "cgroup.subtree_control": "cpuset\n",
		}, false, []string{"cgroup.subtree_control +cpu +memory"}},
		{"a container", map[string]string{
			"cgroup.type": "domain\n", "cgroup.controllers": "cpu\n", "cgroup.subtree_control": "\n", "cgroup.procs": "1\n7\n",
		}, true, []string{
			"cgroup.subtree_control +cpu: EBUSY", "kl-init/cgroup.procs 1", "kl-init/cgroup.procs 7", "cgroup.subtree_control +cpu",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				file := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var have []string
			err := delegateCgroup(root, func(file, text string) error {
				call := strings.TrimPrefix(file, root+"/") + " " + text
				if strings.HasPrefix(call, "kl-init") {
					c.busy = false // once processes are moved
				} else if c.busy {
					have = append(have, call+": EBUSY")
					return unix.EBUSY
				}
				have = append(have, call)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, have); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNoNamespaceIsLeft looks for processes, of any name, in the namespaces that a node had.
func TestNoNamespaceIsLeft(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	n := create(t, d, spec(t, d, "n1"))
	_, c, err := d.bundle("c", "n1").inspect()
	if err != nil {
		t.Fatal(err)
	}
	had := map[string]bool{}
	for _, kind := range []string{"net", "mnt", "pid", "uts", "ipc", "cgroup"} {
		own, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.PID, kind))
		if err != nil {
			t.Fatal(err)
		}
		if own == its {
			t.Errorf("the node has no %s namespace of its own", kind)
		}
		had[its] = true
	}
	if err := d.Delete(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range all {
		if its, err := os.Readlink(ns); err == nil && had[its] {
			t.Errorf("%s is still %s", ns, its)
		}
	}
}

func TestDeleteClusterWithNodes(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	n := create(t, d, spec(t, d, "n1"))
	if err := d.DeleteCluster(t.Context(), "c"); err == nil {
		t.Error("the network of a running node was removed")
	}
	if nodes, err := d.List(t.Context(), "c"); err != nil || len(nodes) != 1 || nodes[0].State != cluster.NodeRunning || nodes[0].IP != n.IP {
		t.Errorf("nodes %v, error %v", nodes, err)
	}
}
