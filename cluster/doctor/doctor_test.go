package doctor

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

// healthy is a machine with nothing to complain about; tests break one thing.
func healthy(t *testing.T) System {
	root := t.TempDir()
	for path, content := range map[string]string{
		"/proc/sys/kernel/osrelease":              "6.1.0-18-amd64\n",
		"/proc/filesystems":                       "nodev\tproc\nnodev\toverlay\n\text4\n",
		"/proc/net/netfilter/nf_log":              "",
		"/sys/fs/cgroup/cgroup.controllers":       "cpuset cpu io memory pids\n",
		"/proc/sys/fs/inotify/max_user_instances": "8192\n",
		"/proc/sys/fs/inotify/max_user_watches":   "524288\n",
		"/proc/self/limits":                       "Limit Soft Hard Units\nMax open files            1024                 524288               files\n",
		"/proc/sys/net/ipv4/ip_forward":           "1\n",
		"/proc/meminfo":                           "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n",
	} {
		write(t, root, path, content)
	}
	return System{
		Root: root, Home: "/home/me/.kl", UID: 1000, LongName: "kl", Nodes: 8,
		Now:        func() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) },
		DiskFree:   func(string) (int64, error) { return 100 << 30, nil },
		Engine:     func(context.Context) (string, error) { return "Docker 28.5.2", nil },
		Interfaces: func() ([]netip.Prefix, error) { return []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")}, nil },
		Listen:     func() error { return nil },
	}
}

func write(t *testing.T, root, path, content string) {
	t.Helper()
	p := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestHealthy(t *testing.T) {
	results := Run(t.Context(), healthy(t), All())
	for _, r := range results {
		if r.Level != OK || r.Name == "" || r.Detail == "" || r.Fix != "" {
			t.Errorf("%+v, want ok with a detail and nothing to fix", r)
		}
	}
	if Worst(results) != OK {
		t.Errorf("Worst = %s", Worst(results))
	}
}

func TestFindings(t *testing.T) {
	tests := []struct {
		name   string
		check  string
		breaks func(t *testing.T, s *System)
		level  Level
		detail string
		fix    string
	}{
		{"no engine", "engine", func(_ *testing.T, s *System) { s.Engine = noEngine }, Fail, "refused", "--nodes 0"},
		{"no engine as root", "engine", func(_ *testing.T, s *System) { s.Engine, s.UID = noEngine, 0 }, Warn, "refused", "embedded"},
		{"old kernel", "kernel", file("/proc/sys/kernel/osrelease", "5.4.0"), Fail, "5.4.0", "5.13"},
		{"no overlay", "kernel", file("/proc/filesystems", "\text4\n"), Warn, "overlay", "modprobe overlay"},
		{"no memory controller", "cgroups", file("/sys/fs/cgroup/cgroup.controllers", "cpu pids"), Fail, "without memory", "cgroup_enable"},
		{"no cgroups", "cgroups", file("/sys/fs/cgroup/cgroup.controllers", ""), Fail, "cpu, memory, devices", "mount"},
		{"cgroup v1", "cgroups", cgroupV1, OK, "v1 with cpu, memory, devices", ""},
		{"forwarding", "sysctls", file("/run/kl/forwarding-0", `{"former":"0"}`), OK, "sets it to 0 again", ""},
		{"inotify", "inotify", file("/proc/sys/fs/inotify/max_user_instances", "128"), Warn, "128 instances", "max_user_instances=512"},
		{"few files", "files", file("/proc/self/limits", "Max open files  1024  1024  files\n"), Warn, "1024", "ulimit"},
		{"full disk", "disk", func(_ *testing.T, s *System) { s.DiskFree = func(string) (int64, error) { return 1 << 20, nil } }, Fail, "1 MiB", "free 1023 MiB, or point KL_HOME"},
		{"little disk for a new cluster", "disk", free(900<<20, 0), Fail, "900 MiB free for /home/me/.kl", "free 124 MiB"},
		{"little disk for a cluster that exists", "disk", exists(free(900<<20, 0)), Warn, "900 MiB free for /home/me/.kl", "free some space"},
		{"full disk for a cluster that exists", "disk", exists(free(79<<20, 0)), Fail, "79 MiB free for /home/me/.kl", "free 1 MiB, or"},
		{"full disk of the engine", "disk", free(100<<30, 20<<20), Fail, "100.0 GiB free for /home/me/.kl, 20 MiB free for /var/lib/docker", "free 1004 MiB there"},
		{"little disk of the engine", "disk", free(100<<30, 2<<30), Warn, "2.0 GiB free for /var/lib/docker", "free some space"},
		{"full disk of the engine, for a cluster that exists", "disk", exists(free(100<<30, 20<<20)), Warn, "20 MiB free for /var/lib/docker", "free some space"},
		{"both disks full", "disk", free(0, 20<<20), Fail, "0 MiB free for /home/me/.kl, 20 MiB", "free 1.0 GiB, or"},
		{"little disk", "disk", func(_ *testing.T, s *System) { s.DiskFree = func(string) (int64, error) { return 2 << 30, nil } }, Warn, "2.0 GiB", "free"},
		{"little memory", "memory", file("/proc/meminfo", "MemAvailable:    400000 kB\n"), Fail, "0.4 GiB", "0.5 GiB"},
		{"overlap", "subnets", func(_ *testing.T, s *System) {
			s.Interfaces = func() ([]netip.Prefix, error) { return []netip.Prefix{netip.MustParsePrefix("10.244.7.1/24")}, nil }
		}, Warn, "10.244.7.1/24", "podCIDR"},
		{"loopback down", "ports", func(_ *testing.T, s *System) { s.Listen = func() error { return errors.New("no address") } }, Fail, "no address", "loopback"},
		{"deep home", "sockets", func(_ *testing.T, s *System) { s.Home = cluster.Home("/" + strings.Repeat("x", 90)) }, Fail, "socket paths", "shorter"},
		{"old clock", "clock", func(_ *testing.T, s *System) { s.Now = func() time.Time { return time.Unix(0, 0) } }, Fail, "1970", "clock"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := healthy(t)
			tt.breaks(t, &s)
			for _, r := range Run(t.Context(), s, All()) {
				if r.Name != tt.check {
					if r.Level != OK {
						t.Errorf("%s complains too: %+v", r.Name, r)
					}
					continue
				}
				if r.Level != tt.level || !strings.Contains(r.Detail, tt.detail) || !strings.Contains(r.Fix, tt.fix) {
					t.Errorf("%+v, want %s with %q and fix %q", r, tt.level, tt.detail, tt.fix)
				}
			}
		})
	}
}

func noEngine(context.Context) (string, error) { return "", errors.New("connection refused\nmore") }

// free is a machine with so many bytes free for kl, and for the engine if that has a disk of its own.
func free(home, engine int64) func(*testing.T, *System) {
	return func(_ *testing.T, s *System) {
		s.DiskFree = func(dir string) (int64, error) {
			if dir == "/var/lib/docker" {
				return engine, nil
			}
			return home, nil
		}
		if engine > 0 {
			s.DataDir = func(context.Context) string { return "/var/lib/docker" }
		}
	}
}

func exists(breaks func(*testing.T, *System)) func(*testing.T, *System) {
	return func(t *testing.T, s *System) { breaks(t, s); s.Exists = true }
}

func file(path, content string) func(*testing.T, *System) {
	return func(t *testing.T, s *System) { write(t, s.Root, path, content) }
}

func cgroupV1(t *testing.T, s *System) {
	write(t, s.Root, "/sys/fs/cgroup/cgroup.controllers", "")
	for _, c := range []string{"cpu", "memory", "devices"} {
		write(t, s.Root, "/sys/fs/cgroup/"+c+"/tasks", "")
	}
}

// TestHostRuns asks the machine of the test: every check must come to a verdict within its time.
func TestHostRuns(t *testing.T) {
	for _, r := range Run(t.Context(), Host(cluster.Home(t.TempDir()), noEngine), Cheap(All(), 1)) {
		if r.Level == "" || r.Detail == "" {
			t.Errorf("%q came to no verdict: %+v", r.Name, r)
		}
		if (r.Level == OK) != (r.Fix == "") {
			t.Errorf("%s: a finding needs a fix, and only a finding: %+v", r.Name, r)
		}
	}
}

func TestCheapLeavesOutWhatDoesNotMatter(t *testing.T) {
	for _, c := range Cheap(All(), 0) {
		if c.Nodes || !c.Cheap {
			t.Errorf("%s is asked for a cluster without nodes", c.Name)
		}
	}
	if with, without := len(Cheap(All(), 1)), len(Cheap(All(), 0)); with <= without || without == 0 {
		t.Errorf("%d checks with nodes, %d without", with, without)
	}
}

func TestOrphans(t *testing.T) {
	s := healthy(t)
	s.Orphans = func(context.Context) []cluster.Orphan {
		return []cluster.Orphan{{Home: "/gone", Cluster: "x", Node: "n1"}, {Home: "/gone", Cluster: "x", Node: "n2"}, {Home: "/also", Cluster: "kl", Node: "n1"}}
	}
	r := orphans(t.Context(), s)
	if r.Level != Warn || r.Detail != "nodes whose files are gone: 1 of cluster kl in /also; 2 of cluster x in /gone" ||
		r.Fix != "KL_HOME=/also kl down --name kl; KL_HOME=/gone kl down --name x" {
		t.Errorf("%+v", r)
	}
}
