package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

func ok(format string, args ...any) Result {
	return Result{Level: OK, Detail: fmt.Sprintf(format, args...)}
}

func engine(ctx context.Context, s System) Result {
	if s.Engine == nil {
		return Result{Level: Warn, Detail: "not checked", Fix: "install Docker, or use --driver embedded as root"}
	}
	what, err := s.Engine(ctx)
	switch {
	case err == nil:
		return ok("%s", what)
	case s.UID == 0:
		return Result{Level: Warn, Detail: oneLine(err), Fix: "nothing, if the embedded driver suits you: kl up takes it, since you are root"}
	default:
		return Result{Level: Fail, Detail: oneLine(err),
			Fix: "start Docker (and join the docker group), or run kl up as root for nodes without an engine, or kl up --nodes 0 for the API alone"}
	}
}

// kernel looks for what pods and Services need. A module that is not loaded but can be is as good as there, so only
// what is known for certain fails.
func kernel(_ context.Context, s System) Result {
	release := s.read("/proc/sys/kernel/osrelease")
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return Result{Level: Warn, Detail: "release unknown", Fix: "kl needs Linux 5.13 or newer"}
	}
	if major < 5 || major == 5 && minor < 13 {
		return Result{Level: Fail, Detail: "Linux " + release, Fix: "use Linux 5.13 or newer: kube-proxy's nftables mode needs it"}
	}
	if !strings.Contains(s.read("/proc/filesystems"), "\toverlay") {
		return Result{Level: Warn, Detail: "Linux " + release + ", overlay is not loaded", Fix: "modprobe overlay"}
	}
	if !s.exists("/proc/net/netfilter") {
		return Result{Level: Warn, Detail: "Linux " + release + ", netfilter is not loaded", Fix: "modprobe nf_tables nf_conntrack"}
	}
	return ok("Linux %s with overlay and netfilter", release)
}

func cgroups(_ context.Context, s System) Result {
	if controllers := s.read("/sys/fs/cgroup/cgroup.controllers"); controllers != "" {
		if missing := lacking(strings.Fields(controllers), "cpu", "memory", "pids"); missing != "" {
			return Result{Level: Fail, Detail: "cgroup v2 without " + missing,
				Fix: "enable the controllers (kernel command line cgroup_enable=memory, or Delegate=yes for your user's service)"}
		}
		return ok("v2 with %s", controllers)
	}
	var v1 []string
	for _, c := range []string{"cpu", "cpuset", "memory", "devices", "freezer", "pids"} {
		if s.exists("/sys/fs/cgroup/" + c) {
			v1 = append(v1, c)
		}
	}
	if missing := lacking(v1, "cpu", "memory", "devices"); missing != "" {
		return Result{Level: Fail, Detail: "no cgroup v2, and cgroup v1 without " + missing, Fix: "mount the cgroup file systems"}
	}
	return ok("v1 with %s (works; Kubernetes will drop v1 in a later release)", strings.Join(v1, ", "))
}

func lacking(have []string, want ...string) string {
	var missing []string
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || h == w
		}
		if !found {
			missing = append(missing, w)
		}
	}
	return strings.Join(missing, ", ")
}

// Each node's kubelet, containerd and CoreDNS hold some dozens of inotify instances; the common default of 128 a user is
// what makes the third node of other tools fail with "too many open files".
func inotify(_ context.Context, s System) Result {
	const instancesPerNode, wantWatches = 64, 65536
	wantInstances := int64(instancesPerNode * s.Nodes)
	instances, known1 := s.number("/proc/sys/fs/inotify/max_user_instances")
	watches, known2 := s.number("/proc/sys/fs/inotify/max_user_watches")
	if !known1 || !known2 {
		return Result{Level: Warn, Detail: "limits unknown", Fix: "check /proc/sys/fs/inotify"}
	}
	detail := fmt.Sprintf("%d instances, %d watches a user", instances, watches)
	if instances < wantInstances || watches < wantWatches {
		return Result{Level: Warn, Detail: detail, Fix: fmt.Sprintf(
			"for %d nodes: sudo sysctl fs.inotify.max_user_instances=%d fs.inotify.max_user_watches=%d (the classic \"too many open files\")",
			s.Nodes, max(instances, wantInstances), max(watches, 8*wantWatches))}
	}
	return ok("%s", detail)
}

func openFiles(_ context.Context, s System) Result {
	for line := range strings.Lines(s.read("/proc/self/limits")) {
		rest, found := strings.CutPrefix(line, "Max open files")
		if !found {
			continue
		}
		f := strings.Fields(rest)
		var hard int64
		if len(f) < 2 || f[1] == "unlimited" {
			return ok("no limit on open files")
		}
		if _, err := fmt.Sscan(f[1], &hard); err == nil && hard < 4096 {
			return Result{Level: Warn, Detail: "at most " + f[1] + " open files", Fix: "ulimit -Hn 65536: the API server holds a connection for every watch"}
		}
		return ok("up to %s open files", f[1])
	}
	return Result{Level: Warn, Detail: "limit unknown", Fix: "check ulimit -Hn"}
}

// disk judges the free space where clusters are kept, and where the engine keeps nodes: the tighter one counts. A cluster that exists
// starts with less than a new one needs.
func disk(ctx context.Context, s System) Result {
	home := int64(cluster.NewDisk)
	data := home
	if s.Exists {
		home, data = cluster.MinDisk, 0
	}
	r := s.room(string(s.Home), home, ", or point KL_HOME at a larger disk")
	if s.DataDir == nil {
		return r
	}
	dir := s.DataDir(ctx)
	if dir == "" {
		return r
	}
	d := s.room(dir, data, " there")
	worse := r
	if r.Level == OK || r.Level == Warn && d.Level == Fail {
		worse = d
	}
	return Result{Level: worse.Level, Detail: r.Detail + ", " + d.Detail, Fix: worse.Fix}
}

// room judges the free space of a directory, of which so many bytes are needed.
func (s System) room(dir string, need int64, otherwise string) Result {
	free, err := s.DiskFree(dir)
	if err != nil {
		return Result{Level: Warn, Detail: oneLine(err), Fix: "check " + dir}
	}
	detail := fmt.Sprintf("%s free for %s", size(free), dir)
	switch {
	case free < need:
		return Result{Level: Fail, Detail: detail, Fix: "free " + size(need-free) + otherwise}
	case free < cluster.AmpleDisk:
		return Result{Level: Warn, Detail: detail, Fix: "images and volumes will need more: free some space"}
	}
	return ok("%s", detail)
}

// size writes a number of bytes, at least one MiB of them if there are any.
func size(bytes int64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

func memory(_ context.Context, s System) Result {
	const need, comfortable = 700 << 10, 2 << 20 // KiB
	for line := range strings.Lines(s.read("/proc/meminfo")) {
		var available int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &available); n != 1 {
			continue
		}
		detail := fmt.Sprintf("%.1f GiB available", float64(available)/(1<<20))
		switch {
		case available < need:
			return Result{Level: Fail, Detail: detail, Fix: "close something: a one-node cluster takes about 0.5 GiB before your pods"}
		case available < comfortable:
			return Result{Level: Warn, Detail: detail, Fix: "enough for one or two nodes and small pods"}
		}
		return ok("%s", detail)
	}
	return Result{Level: Warn, Detail: "unknown", Fix: "check /proc/meminfo"}
}

// subnets compares the cluster's ranges with the machine's own addresses: pods cannot reach networks that overlap.
func subnets(_ context.Context, s System) Result {
	own, err := s.Interfaces()
	if err != nil {
		return Result{Level: Warn, Detail: oneLine(err), Fix: "check the machine's network interfaces"}
	}
	for _, c := range []string{cluster.DefaultPodCIDR, cluster.DefaultServiceCIDR, cluster.DefaultGateway + "/32"} {
		r := netip.MustParsePrefix(c)
		for _, p := range own {
			if r.Overlaps(p.Masked()) {
				return Result{Level: Warn, Detail: fmt.Sprintf("the default range %s overlaps this machine's %s", c, p),
					Fix: "set other ranges in kl.yaml (networking.podCIDR, serviceCIDR, gateway): pods could not reach that network"}
			}
		}
	}
	return ok("%s and %s are free", cluster.DefaultPodCIDR, cluster.DefaultServiceCIDR)
}

// forwarding says whether kl has changed the only setting of the machine that it changes.
func forwarding(_ context.Context, s System) Result {
	now := s.read("/proc/sys/net/ipv4/ip_forward")
	var before cluster.Forwarding
	data, err := statefile.Read(cluster.ForwardingFile(s.Root))
	if err == nil && json.Unmarshal(data, &before) == nil && now != before.Former {
		return ok("kl turned on net.ipv4.ip_forward for nodes of driver embedded; the last kl down sets it to %s again", before.Former)
	}
	return ok("net.ipv4.ip_forward is %s, as without kl", now)
}

// orphans names nodes that no home has any more: its directory was removed or moved while they ran. The directory may also be in
// another container or machine that uses the same engine, so this says what to do and no more.
func orphans(ctx context.Context, s System) Result {
	if s.Orphans == nil {
		return ok("not looked for")
	}
	type place struct{ home, name string }
	nodes := map[place]int{}
	for _, o := range s.Orphans(ctx) {
		nodes[place{string(o.Home), o.Cluster}]++
	}
	var what, fixes []string
	for p, n := range nodes {
		what = append(what, fmt.Sprintf("%d of cluster %s in %s", n, p.name, p.home))
		fixes = append(fixes, fmt.Sprintf("KL_HOME=%s kl down --name %s", p.home, p.name))
	}
	if len(what) == 0 {
		return ok("every node has its files")
	}
	slices.Sort(what)
	slices.Sort(fixes)
	return Result{Level: Warn, Detail: "nodes whose files are gone: " + strings.Join(what, "; "), Fix: strings.Join(fixes, "; ")}
}

func ports(_ context.Context, s System) Result {
	if err := s.Listen(); err != nil {
		return Result{Level: Fail, Detail: oneLine(err), Fix: "make sure the loopback interface is up and ports are left"}
	}
	return ok("127.0.0.1 takes listeners")
}

// socketPath checks the limit of a Unix socket address: 108 bytes with the final zero, unix(7).
func socketPath(_ context.Context, s System) Result {
	const limit = 107
	longest := len(s.Home.Cluster(s.LongName).TunnelSocket("n99"))
	if longest > limit {
		return Result{Level: Fail, Detail: fmt.Sprintf("KL_HOME makes socket paths of %d bytes; the system takes %d", longest, limit),
			Fix: "use a shorter KL_HOME"}
	}
	return ok("paths of %d bytes, room for %d more", longest, limit-longest)
}

// clock finds clocks so wrong that certificates are judged not yet valid or expired.
func clock(_ context.Context, s System) Result {
	now, released := s.Now(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if now.Before(released) {
		return Result{Level: Fail, Detail: "it is " + now.UTC().Format(time.DateOnly) + " here, before this kl was made",
			Fix: "set the clock: certificates would be refused"}
	}
	return ok("%s", now.UTC().Format("2006-01-02 15:04 MST"))
}

func oneLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
