package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeKernel records calls, with paths relative to the fake root.
type fakeKernel struct {
	root     string
	calls    []string
	mknodErr error
	hard     uint64 // limit of open files that cannot be raised; 0: any
	limit    [2]uint64
}

func (k *fakeKernel) note(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), k.root, "")
	k.calls = append(k.calls, line)
}

func (k *fakeKernel) Mount(source, target, fstype string, flags uintptr, data string) error {
	k.note("mount %q %s/ %q %#x %q", source, strings.TrimSuffix(target, "/"), fstype, flags, data)
	return nil
}

func (k *fakeKernel) Unmount(target string, flags int) error {
	k.note("unmount %s %#x", target, flags)
	return nil
}

func (k *fakeKernel) Mknod(path string, mode uint32, dev int) error {
	k.note("mknod %s %#o %d", path, mode, dev)
	if k.mknodErr != nil {
		return k.mknodErr
	}
	return os.WriteFile(path, nil, 0o600)
}

func (k *fakeKernel) LimitOpenFiles(soft, hard uint64) error {
	if k.hard > 0 && hard > k.hard {
		return syscall.EPERM
	}
	k.limit = [2]uint64{soft, hard}
	return nil
}

func (k *fakeKernel) HardOpenFiles() (uint64, error) { return k.hard, nil }

const (
	allCaps       = "Name:\tkl-init\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\n"
	noSysResource = "Name:\tkl-init\nCapInh:\t0000000000000000\nCapEff:\t000001fffeffffff\n"
)

// container returns the files of a container as an engine makes it, with a version of cgroups.
func container(version int) map[string]string {
	files := map[string]string{
		"/proc/self/mounts":                          "overlay / overlay rw 0 0\n",
		"/proc/self/status":                          allCaps,
		"/proc/sys/net/ipv4/ip_forward":              "0",
		"/proc/sys/net/ipv4/conf/all/rp_filter":      "1",
		"/proc/sys/net/ipv4/conf/all/route_localnet": "0",
		"/etc/resolv.conf":                           "nameserver 192.0.2.1\n",
		"/dev/null":                                  "",
	}
	if version == 2 {
		files["/sys/fs/cgroup/cgroup.controllers"] = "cpuset cpu io memory pids\n"
		files["/sys/fs/cgroup/cgroup.procs"] = "1\n0\n"
		files["/sys/fs/cgroup/cgroup.subtree_control"] = ""
		files["/sys/fs/cgroup/kl/cgroup.procs"] = ""
		files["/sys/fs/cgroup/kubelet/cgroup.subtree_control"] = ""
		return files
	}
	files["/sys/fs/cgroup/cpu,cpuacct/cpu.shares"] = "1024"
	files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "1"
	files["/sys/fs/cgroup/cpuset/cpuset.cpus"] = "0-1\n"
	files["/sys/fs/cgroup/cpuset/cpuset.mems"] = "0\n"
	files["/sys/fs/cgroup/systemd/cgroup.procs"] = ""
	return files
}

func newMachine(t *testing.T, files map[string]string) (*Machine, *fakeKernel) {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kernel := &fakeKernel{root: root}
	return &Machine{Root: root, Kernel: kernel, Gateway: "10.245.0.1", Logger: slog.New(slog.DiscardHandler)}, kernel
}

func (m *Machine) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPrepareFacts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change map[string]string
		cgroup int
		want   Facts
	}{
		{"cgroup v1", nil, 1, Facts{CgroupVersion: 1}},
		{"cgroup v2", nil, 2, Facts{CgroupVersion: 2}},
		{"without CAP_SYS_RESOURCE", map[string]string{"/proc/self/status": noSysResource}, 1,
			Facts{CgroupVersion: 1, RestrictOOMScoreAdj: true}},
		{"cgroup v2 without CAP_SYS_RESOURCE", map[string]string{"/proc/self/status": noSysResource}, 2,
			Facts{CgroupVersion: 2, RestrictOOMScoreAdj: true}},
		{"capabilities unknown", map[string]string{"/proc/self/status": "Name:\tx\n"}, 1,
			Facts{CgroupVersion: 1, RestrictOOMScoreAdj: true}},
		{"Docker's resolver", map[string]string{"/etc/resolv.conf": "nameserver 127.0.0.11\n"}, 2,
			Facts{CgroupVersion: 2, DNSUpstream: "127.0.0.11"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := container(tt.cgroup)
			for name, data := range tt.change {
				files[name] = data
			}
			m, _ := newMachine(t, files)
			for range 2 { // a second time as after a restart
				got, err := m.Prepare()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			}
			read, err := ReadFacts(m.path(FactsFile))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, read); diff != "" {
				t.Error("facts file", diff)
			}
			if got := m.read(t, "/proc/sys/net/ipv4/ip_forward"); got != "1" {
				t.Errorf("ip_forward = %q", got)
			}
		})
	}
}

func TestPrepareNeedsForwarding(t *testing.T) {
	files := container(1)
	delete(files, "/proc/sys/net/ipv4/ip_forward")
	m, _ := newMachine(t, files)
	if _, err := m.Prepare(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "net/ipv4/ip_forward") {
		t.Errorf("err = %v, want one that names the sysctl", err)
	}
}

func TestPrepareRemountsReadOnlyKernelFiles(t *testing.T) {
	files := container(1)
	files["/proc/self/mounts"] = strings.Join([]string{
		"overlay / overlay ro 0 0", // not below /proc or /sys
		"proc /proc/sys proc ro,nosuid,nodev,noexec,relatime 0 0",
		"sysfs /sys sysfs ro,nosuid 0 0",
		"cgroup /sys/fs/cgroup/memory cgroup rw,nosuid 0 0",
		"tmpfs /procession tmpfs ro 0 0",
		`tmpfs /sys/with\040blank tmpfs ro 0 0`,
		"/dev/vda1 /var ext4 rw,errors=remount-ro 0 0",
	}, "\n") + "\n"
	m, kernel := newMachine(t, files)
	if _, err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	remount := uintptr(syscall.MS_REMOUNT | syscall.MS_BIND)
	strict := uintptr(syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC | syscall.MS_RELATIME)
	want := []string{
		fmt.Sprintf(`mount "" / "" %#x ""`, syscall.MS_REC|syscall.MS_SHARED),
		fmt.Sprintf(`mount "" /proc/sys/ "" %#x ""`, remount|strict),
		fmt.Sprintf(`mount "" /sys/ "" %#x ""`, remount|syscall.MS_NOSUID),
		fmt.Sprintf(`mount "" /sys/with blank/ "" %#x ""`, remount),
		"mknod /dev/kmsg 020600 267",
		fmt.Sprintf(`mount "proc" /run/proc/ "proc" %#x ""`, syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC),
	}
	if diff := cmp.Diff(want, kernel.calls); diff != "" {
		t.Error(diff)
	}
}

func TestKmsg(t *testing.T) {
	t.Run("there", func(t *testing.T) {
		files := container(1)
		files["/dev/kmsg"] = ""
		m, kernel := newMachine(t, files)
		m.makeKmsg()
		if len(kernel.calls) > 0 {
			t.Errorf("calls = %q, want none", kernel.calls)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		m, kernel := newMachine(t, container(1))
		kernel.mknodErr = syscall.EPERM
		for range 2 {
			m.makeKmsg()
			if got, err := os.Readlink(m.path("/dev/kmsg")); err != nil || got != "/dev/null" {
				t.Errorf("link = %q, %v", got, err)
			}
		}
	})
}

func TestMachineIDSurvivesRestarts(t *testing.T) {
	m, _ := newMachine(t, container(1))
	if _, err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	first := m.read(t, "/etc/machine-id")
	if len(first) != 33 {
		t.Errorf("machine-id = %q, want 32 digits", first)
	}
	// another version of the image has its own /etc; /var stays
	if err := os.WriteFile(m.path("/etc/machine-id"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	if again := m.read(t, "/etc/machine-id"); again != first {
		t.Errorf("machine-id = %q after restart, was %q", again, first)
	}
	other, _ := newMachine(t, container(1))
	if _, err := other.Prepare(); err != nil {
		t.Fatal(err)
	}
	if other.read(t, "/etc/machine-id") == first {
		t.Error("two nodes have the same machine-id")
	}
}

func TestDamagedMachineIDIsReplaced(t *testing.T) {
	files := container(1)
	files["/var/lib/kl/machine-id"] = "0123"
	m, _ := newMachine(t, files)
	if _, err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	if got := m.read(t, "/etc/machine-id"); len(got) != 33 {
		t.Errorf("machine-id = %q", got)
	}
}

func TestPrepareRemovesLeftovers(t *testing.T) {
	files := container(1)
	stale := []string{
		"/run/containerd/containerd.sock", "/run/netns/cni-1", "/run/cni/addresses/kl/10.244.0.2", "/run/kl/resolv.conf",
		"/var/lib/cni/results/kl-1-eth0",
	}
	kept := []string{"/var/lib/containerd/meta.db", "/etc/cni/net.d/10-kl.conflist", "/var/lib/kubelet/pki/kubelet.crt"}
	for _, name := range slices.Concat(stale, kept) {
		files[name] = "old"
	}
	m, _ := newMachine(t, files)
	if _, err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	for _, name := range stale {
		if data, err := os.ReadFile(m.path(name)); err == nil && string(data) == "old" {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range kept {
		if got := m.read(t, name); got != "old" {
			t.Errorf("%s = %q", name, got)
		}
	}
}

func TestReleaseUnmountsPodsInReverse(t *testing.T) {
	files := container(1)
	files["/proc/self/mounts"] = strings.Join([]string{
		"overlay / overlay rw 0 0",
		"tmpfs /run tmpfs rw 0 0",
		"overlay /run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs overlay rw 0 0",
		"tmpfs /var/lib/kubelet/pods/1/volumes/x tmpfs rw 0 0",
		"nsfs /run/netns/cni-1 nsfs rw 0 0",
		"tmpfs /run/netnsx tmpfs rw 0 0",
	}, "\n")
	m, kernel := newMachine(t, files)
	if err := m.Release(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"unmount /run/netns/cni-1 0x2",
		"unmount /var/lib/kubelet/pods/1/volumes/x 0x2",
		"unmount /run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs 0x2",
	}
	if diff := cmp.Diff(want, kernel.calls); diff != "" {
		t.Error(diff)
	}
}

// TestShieldMachine: every setting of the whole machine that the kubelet would change has a file over it that suits the kubelet.
func TestShieldMachine(t *testing.T) {
	files := container(1)
	for name := range machineWide() {
		files["/proc/sys/"+name] = "7\n"
	}
	delete(files, "/proc/sys/kernel/keys/root_maxkeys")
	m, kernel := newMachine(t, files)
	if _, err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	for name, value := range machineWide() {
		mounted := slices.Contains(kernel.calls, fmt.Sprintf(`mount "/run/sysctl/%s" /proc/sys/%s/ "" %#x ""`, name, name, syscall.MS_BIND))
		if _, exists := files["/proc/sys/"+name]; mounted != exists {
			t.Errorf("%s: mounted over: %v, exists: %v", name, mounted, exists)
		} else if exists && (m.read(t, "/proc/sys/"+name) != "7\n" || m.read(t, "/run/sysctl/"+name) != value+"\n") {
			t.Errorf("%s: the machine's is %q, the node's is %q", name, m.read(t, "/proc/sys/"+name), m.read(t, "/run/sysctl/"+name))
		}
	}
}

func TestOpenFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		hard uint64
		want [2]uint64
	}{
		"may be raised": {0, [2]uint64{1 << 20, 1 << 20}}, "may not": {20000, [2]uint64{20000, 20000}},
	} {
		m, kernel := newMachine(t, container(1))
		kernel.hard = tt.hard
		if _, err := m.Prepare(); err != nil {
			t.Fatal(err)
		}
		if kernel.limit != tt.want {
			t.Errorf("%s: %v, want %v", name, kernel.limit, tt.want)
		}
	}
}
