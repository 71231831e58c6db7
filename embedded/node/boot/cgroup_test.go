package boot

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHierarchiesGetTheKubeletsRoot(t *testing.T) {
	m, _ := newMachine(t, container(1))
	if err := os.Symlink("cpu,cpuacct", m.path("/sys/fs/cgroup/cpu")); err != nil {
		t.Fatal(err)
	}
	version, err := m.prepareCgroups()
	if err != nil || version != 1 {
		t.Fatalf("version %d, err %v", version, err)
	}
	for _, hierarchy := range []string{"cpu,cpuacct", "cpuset", "memory", "systemd"} {
		if info, err := os.Stat(m.path("/sys/fs/cgroup/" + hierarchy + CgroupRoot)); err != nil || !info.IsDir() {
			t.Errorf("%s has no root: %v", hierarchy, err)
		}
	}
	got := []string{m.read(t, "/sys/fs/cgroup/cpuset/kubelet/cpuset.cpus"), m.read(t, "/sys/fs/cgroup/cpuset/kubelet/cpuset.mems")}
	if diff := cmp.Diff([]string{"0-1\n", "0\n"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(m.path("/sys/fs/cgroup/memory/kubelet/cpuset.cpus")); err == nil {
		t.Error("cpuset.cpus written into another hierarchy")
	}
}

func TestCpusetOfTheKubeletIsKept(t *testing.T) {
	files := container(1)
	files["/sys/fs/cgroup/cpuset/kubelet/cpuset.cpus"] = "1\n"
	m, _ := newMachine(t, files)
	if _, err := m.prepareCgroups(); err != nil {
		t.Fatal(err)
	}
	if got := m.read(t, "/sys/fs/cgroup/cpuset/kubelet/cpuset.cpus"); got != "1\n" {
		t.Errorf("cpuset.cpus = %q", got)
	}
}

func TestUnifiedHierarchyMovesToALeaf(t *testing.T) {
	m, _ := newMachine(t, container(2))
	version, err := m.prepareCgroups()
	if err != nil || version != 2 {
		t.Fatalf("version %d, err %v", version, err)
	}
	if got := m.read(t, "/sys/fs/cgroup/kl/cgroup.procs"); got != "1" {
		t.Errorf("processes in the leaf = %q, want 1 and not 0", got)
	}
	for _, dir := range []string{"", CgroupRoot} { // a plain file keeps the last of the writes
		if got := m.read(t, "/sys/fs/cgroup"+dir+"/cgroup.subtree_control"); got != "+pids" {
			t.Errorf("controllers below %q = %q", dir, got)
		}
	}
}

func TestUnifiedHierarchyNeedsItsControllers(t *testing.T) {
	files := container(2)
	delete(files, "/sys/fs/cgroup/cgroup.subtree_control")
	m, _ := newMachine(t, files)
	if _, err := m.prepareCgroups(); err == nil {
		t.Error("no error although no controller could be enabled")
	}
}

func TestNoCgroups(t *testing.T) {
	m, _ := newMachine(t, nil)
	if err := os.MkdirAll(m.path(cgroupMount), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := m.prepareCgroups(); err == nil {
		t.Error("no error without any hierarchy")
	}
}
