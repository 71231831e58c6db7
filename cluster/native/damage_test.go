//go:build linux

package native

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klkube/kl/cluster"
)

// ruin is a way in which a file can be damaged.
type ruin struct {
	name string
	do   func(path string) error
}

func ruins() []ruin {
	directory := func(path string) error {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		return os.MkdirAll(filepath.Join(path, "x"), 0o700)
	}
	return []ruin{
		{"empty", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
		{"garbage", func(path string) error { return os.WriteFile(path, []byte("\x00{}garbage"), 0o600) }},
		{"of another", func(path string) error {
			return os.WriteFile(path, []byte(`{"annotations":{"dev.kl.record":"{}"}}`), 0o600)
		}},
		{"missing", os.RemoveAll},
		{"directory", directory},
		{"a pipe", func(path string) error { return errors.Join(os.RemoveAll(path), syscall.Mkfifo(path, 0o600)) }},
		{"a link to nothing", func(path string) error { return errors.Join(os.RemoveAll(path), os.Symlink("/nonexistent/file", path)) }},
	}
}

// TestADamagedNodeIsNoObstacle damages each file that the driver keeps about a running node. Other clusters must not notice, and
// Delete must leave nothing behind.
func TestADamagedNodeIsNoObstacle(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	bystander := spec(t, d, "n1")
	bystander.Cluster = "b"
	create(t, d, bystander)
	t.Cleanup(func() { remove(t, d, "b") })
	for _, file := range []string{"config.json", "off", "supervisor", "init.pid", "console.log", "supervisor.log", "runc"} {
		for _, r := range ruins() {
			t.Run(file+" "+r.name, func(t *testing.T) {
				n := create(t, d, spec(t, d, "n1"))
				b := d.bundle("c", "n1")
				path := filepath.Join(b.dir, file)
				if file == "runc" {
					path = filepath.Join(b.scope().runc(), "n1", "state.json")
				}
				if err := r.do(path); err != nil {
					t.Fatal(err)
				}
				all, err := d.List(t.Context(), "")
				if err != nil || len(all) != 2 || all[0].State != cluster.NodeRunning || all[1].Name != "n1" || all[1].Cluster != "c" {
					t.Fatalf("nodes %v, %v", all, err)
				}
				if file == "config.json" && (all[1].State != cluster.NodeDamaged || !strings.Contains(all[1].Problem, path)) {
					t.Errorf("node is %s: %q, want damaged, with %s", all[1].State, all[1].Problem, path)
				}
				if err := d.Delete(t.Context(), n); err != nil {
					t.Fatalf("delete: %v", err)
				}
				if err := d.DeleteCluster(t.Context(), "c"); err != nil {
					t.Fatalf("delete cluster: %v", err)
				}
				if left := residue(t, d, "c"); left != "" {
					t.Errorf("left on this machine:\n%s", left)
				}
			})
		}
	}
}

// TestAFileInPlaceOfANode also checks that a new node can be made beside a damaged one, and that a paused node is ended by force.
func TestAFileInPlaceOfANode(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	n := create(t, d, spec(t, d, "n1"))
	if err := d.Pause(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.bundle("c", "n1").config(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(
		os.WriteFile(d.bundle("c", "n3").dir, nil, 0o600), syscall.Mkfifo(d.bundle("c", "n4").dir, 0o600),
		syscall.Mknod(d.bundle("c", "n5").dir, syscall.S_IFCHR|0o666, 1<<8|3), os.Symlink("/nonexistent/node", d.bundle("c", "n6").dir))
	if err != nil {
		t.Fatal(err)
	}
	create(t, d, spec(t, d, "n2"))
	nodes, err := d.List(t.Context(), "c")
	if err != nil || len(nodes) != 6 {
		t.Fatalf("nodes %v, %v", nodes, err)
	}
	damaged := cluster.NodeDamaged
	for i, want := range []cluster.NodeState{damaged, cluster.NodeRunning, damaged, damaged, damaged, damaged} {
		if nodes[i].State != want {
			t.Errorf("%s is %s, want %s", nodes[i].Name, nodes[i].State, want)
		}
	}
	if err := d.Stop(t.Context(), n); err == nil || !strings.Contains(err.Error(), d.bundle("c", "n1").config()) {
		t.Errorf("stop of a damaged node: %v, want an error that names its file", err)
	}
} // all of it is removed by the cleanup of spec

// TestNodesWithoutADirectory removes, or moves, the directory of a home while its node runs. Nothing but Delete can be done with such a
// node, also by a driver of another home.
func TestNodesWithoutADirectory(t *testing.T) {
	machine(t)
	for name, lose := range map[string]func(home string) error{
		"removed": os.RemoveAll,
		"moved":   func(home string) error { return os.Rename(home, home+"-2") },
	} {
		t.Run(name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "home")
			d := connect(t, home)
			n := create(t, d, spec(t, d, "n1"))
			if orphans, err := d.Orphans(t.Context()); err != nil || len(orphansIn(orphans, home)) != 0 {
				t.Fatalf("orphans while there are files: %v, %v", orphans, err)
			}
			if err := lose(home); err != nil {
				t.Fatal(err)
			}
			orphans, err := d.Orphans(t.Context())
			if mine := orphansIn(orphans, home); err != nil || len(mine) != 1 || mine[0].Cluster != "c" || mine[0].Node != "n1" {
				t.Errorf("orphans: %v, %v", orphans, err)
			}
			former, err := connect(t, t.TempDir()).For(cluster.Home(home))
			if err != nil {
				t.Fatal(err)
			}
			nodes, err := former.List(t.Context(), "c")
			if err != nil || len(nodes) != 1 || nodes[0].State != cluster.NodeDamaged || !strings.Contains(nodes[0].Problem, "is gone") {
				t.Fatalf("nodes %v, %v", nodes, err)
			}
			if err := former.Delete(t.Context(), n); err != nil {
				t.Fatalf("delete: %v", err)
			}
			if err := former.(cluster.Cleaner).DeleteCluster(t.Context(), "c"); err != nil {
				t.Fatalf("delete cluster: %v", err)
			}
			if left := residue(t, d, "c"); left != "" {
				t.Errorf("left on this machine:\n%s", left)
			}
			if nodes, err := former.List(t.Context(), "c"); err != nil || len(nodes) != 0 {
				t.Errorf("nodes %v, %v", nodes, err)
			}
		})
	}
}

func orphansIn(all []cluster.Orphan, home string) []cluster.Orphan {
	return slices.DeleteFunc(all, func(o cluster.Orphan) bool { return string(o.Home) != home })
}
