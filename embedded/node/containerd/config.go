package containerd

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/boot"
)

// Files of the daemon in the node.
const (
	ConfigFile = "/etc/containerd/config.toml"
	CertsDir   = "/etc/containerd/certs.d"
	Socket     = "/run/containerd/containerd.sock"
	PauseImage = cluster.PauseImage
)

// statsInterval is how often containerd looks at the processor time of every container, for the rate in crictl stats alone. Upstream does
// it every second, which was a third of what an idle containerd and its shims cost. cAdvisor, whose figures the kubelet reports, looks every ten.
const statsInterval = "10s"

// Config returns the content of ConfigFile. The node keeps the layers of its images in a directory that it shares with others under its
// name, unless that is empty.
func Config(facts boot.Facts, layers, node string) string {
	return fmt.Sprintf(`version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %q
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = %q

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = %t
  max_container_log_line_size = 16384
  stats_collect_period = %q
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.snapshotter.v1.overlayfs"]
  layers = %q
  node = %q
`, PauseImage, CertsDir, facts.RestrictOOMScoreAdj, statsInterval, layers, node)
}

// MirrorFiles returns the files in CertsDir, by relative path, that make containerd pull a registry's images from its mirrors,
// in the given order, and from the registry itself last. The registry * stands for all others.
func MirrorFiles(mirrors map[string][]string) (map[string]string, error) {
	files := map[string]string{}
	for _, registry := range slices.Sorted(maps.Keys(mirrors)) {
		if registry == "" || strings.ContainsAny(registry, "/\\ ") || strings.HasPrefix(registry, ".") {
			return nil, fmt.Errorf("mirrors: %q is not a registry", registry)
		}
		dir, server := registry, "https://"+registry
		switch registry {
		case "*":
			dir, server = "_default", ""
		case "docker.io":
			server = "https://registry-1.docker.io"
		}
		var b strings.Builder
		if server != "" {
			fmt.Fprintf(&b, "server = %q\n", server)
		}
		for _, endpoint := range mirrors[registry] {
			u, err := url.Parse(endpoint)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				return nil, fmt.Errorf("mirrors: %s: %q is not an http or https URL", registry, endpoint)
			}
			fmt.Fprintf(&b, "\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", endpoint)
		}
		files[dir+"/hosts.toml"] = b.String()
	}
	return files, nil
}
