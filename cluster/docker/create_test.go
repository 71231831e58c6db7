package docker_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/docker"
)

func full(cgroup string) system.Info {
	return system.Info{CgroupVersion: cgroup, MemoryLimit: true, SwapLimit: true, CPUCfsQuota: true}
}

func spec(t *testing.T) cluster.NodeSpec {
	t.Helper()
	rootfs := t.TempDir()
	if err := os.WriteFile(filepath.Join(rootfs, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return cluster.NodeSpec{
		Cluster: "c", Name: "n1", Payload: cluster.Payload{SHA: "abc", Rootfs: rootfs}, TunnelDir: "/r", NodeDir: "/n",
		MilliCPUs: 1500, MemoryBytes: 1 << 30,
		Ports: []cluster.Port{{Host: 8080, Node: 80}, {Host: 53, Node: 5353, Protocol: "udp", Address: "0.0.0.0"}},
	}
}

// rights is the part of a container's configuration that depends on the engine.
type rights struct {
	Privileged    bool
	CapAdd, Drop  []string
	Security      []string
	Devices       []string
	Masked, Read  []string
	Cgroupns      string
	NanoCPUs      int64
	Memory, Total int64
}

func rightsOf(h container.HostConfig) rights {
	return rights{
		h.Privileged, h.CapAdd, h.CapDrop, h.SecurityOpt, h.DeviceCgroupRules, h.MaskedPaths, h.ReadonlyPaths,
		string(h.CgroupnsMode), h.NanoCPUs, h.Memory, h.MemorySwap,
	}
}

func TestCreateRights(t *testing.T) {
	privileged := rights{
		Privileged: true, Security: []string{"label=disable"},
		Cgroupns: "private", NanoCPUs: 1.5e9, Memory: 1 << 30, Total: 1 << 30,
	}
	unprivileged := privileged
	unprivileged.Privileged, unprivileged.CapAdd, unprivileged.Drop = false, []string{"ALL"}, []string{"CAP_SYS_RESOURCE"} // as the SDK spells it
	unprivileged.Security = []string{"label=disable", "seccomp=unconfined", "apparmor=unconfined"}
	unprivileged.Devices, unprivileged.Masked, unprivileged.Read = []string{"a *:* rwm"}, []string{}, []string{}
	noSwap := privileged
	noSwap.Total = 0
	noSwapInfo := full("1")
	noSwapInfo.SwapLimit = false
	for _, c := range []struct {
		name string
		f    *fakeEngine
		want rights
	}{
		{"cgroup v1, privileged", &fakeEngine{version: "1.41", info: full("1")}, privileged},
		{"cgroup v2, privileged", &fakeEngine{version: "1.47", info: full("2")}, privileged},
		{"cgroup v1, refused", &fakeEngine{version: "1.41", info: full("1"), noPrivileged: true}, unprivileged},
		{"cgroup v2, refused", &fakeEngine{version: "1.47", info: full("2"), noPrivileged: true}, unprivileged},
		{"no swap accounting", &fakeEngine{version: "1.41", info: noSwapInfo}, noSwap},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := c.f.serve(t)
			if err != nil {
				t.Fatal(err)
			}
			d.AssumeCapabilities() // else it would look at this test's process, which listens on the socket
			if _, err := d.Create(t.Context(), spec(t)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, rightsOf(c.f.containers["c-n1"].HostConfig)); diff != "" {
				t.Errorf("rights (-want +got):\n%s", diff)
			}
			second := spec(t)
			second.Name = "n2"
			c.f.calls = nil
			if _, err := d.Create(t.Context(), second); err != nil {
				t.Fatal(err)
			}
			want := []string{"POST /containers/create 201", "POST /containers/c-n2/start 204"} // without another attempt at a privileged container
			if diff := cmp.Diff(want, c.f.calls); diff != "" {
				t.Errorf("second create (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCreateConfiguresTheNode(t *testing.T) {
	f := &fakeEngine{version: "1.41", info: full("1")}
	d, err := f.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	s := spec(t)
	s.Mounts = []cluster.Mount{{Host: "/data", Node: "/mnt", ReadOnly: true}}
	if _, err := d.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	c := f.containers["c-n1"]
	var mounts []string
	for _, m := range c.HostConfig.Mounts {
		mounts = append(mounts, fmt.Sprintf("%s %s:%s ro=%t", m.Type, m.Source, m.Target, m.ReadOnly))
	}
	want := []string{"volume :/var ro=false", "bind /r:/kl/run ro=true", "bind /n:/kl/node ro=false", "bind /data:/mnt ro=true"}
	if diff := cmp.Diff(want, mounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	var ports []string
	for port, bindings := range c.HostConfig.PortBindings {
		ports = append(ports, fmt.Sprintf("%s on %s:%s", port, bindings[0].HostIP, bindings[0].HostPort))
	}
	if len(ports) != 2 || !strings.Contains(fmt.Sprint(ports), "80/tcp on 127.0.0.1:8080") || !strings.Contains(fmt.Sprint(ports), "5353/udp on 0.0.0.0:53") {
		t.Errorf("ports: %v", ports)
	}
	if h := c.HostConfig; h.RestartPolicy.Name != "unless-stopped" || c.Hostname != "n1" || !strings.Contains(h.Tmpfs["/run"], "exec") {
		t.Errorf("restart %q, host name %q, tmpfs %v", h.RestartPolicy.Name, c.Hostname, h.Tmpfs)
	}
	subnet := netip.MustParsePrefix(f.networks[0].IPAM.Config[0].Subnet)
	addr := netip.MustParseAddr(c.NetworkingConfig.EndpointsConfig["kl-c"].IPAMConfig.IPv4Address)
	if want := subnet.Addr().Next().Next(); addr != want {
		t.Errorf("address of n1 is %s, want %s", addr, want)
	}
}

// An engine that refuses privileged containers does so to all nodes that are made at once.
func TestCreateRefusedAtOnce(t *testing.T) {
	errs := make([]error, 2)
	f := &fakeEngine{version: "1.41", info: full("1"), noPrivileged: true, remote: true, together: len(errs)}
	d, err := f.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range errs {
		s := spec(t)
		s.Name, s.Ports = fmt.Sprintf("n%d", i+1), nil
		wg.Go(func() { _, errs[i] = d.Create(t.Context(), s) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil || len(f.containers) != len(errs) {
		t.Errorf("%d nodes, %v", len(f.containers), err)
	}
}

func TestCreateImportsOnce(t *testing.T) {
	f := &fakeEngine{version: "1.41", info: full("1")}
	d, err := f.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 5)
	for i := range errs {
		s := spec(t)
		s.Name = fmt.Sprintf("n%d", i+1)
		wg.Go(func() { _, errs[i] = d.Create(t.Context(), s) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if f.imported != 1 || len(f.networks) != 1 || len(f.containers) != 5 {
		t.Errorf("%d imports, %d networks, %d containers", f.imported, len(f.networks), len(f.containers))
	}
}

func TestCreateChoosesAFreeSubnet(t *testing.T) {
	free := func(taken ...string) *fakeEngine {
		f := &fakeEngine{version: "1.41", info: full("1")}
		for _, s := range taken {
			f.networks = append(f.networks, network.Inspect{Name: s, IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: s}}}})
		}
		return f
	}
	for _, c := range []struct {
		name  string
		f     *fakeEngine
		taken []string // in addition to what the machine uses
	}{
		{"the next one", free("10.246.0.0/24"), []string{"10.246.0.0/24"}},
		{"not within a larger one", free("10.246.0.0/17"), []string{"10.246.0.0/17"}},
		{"not a range to avoid", free(), []string{"10.0.0.0/8"}},
	} {
		taken, err := cluster.HostPrefixes()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range c.taken {
			taken = append(taken, netip.MustParsePrefix(p))
		}
		want, err := cluster.FreeSubnet(taken)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(c.name, func(t *testing.T) {
			d, err := c.f.serve(t)
			if err != nil {
				t.Fatal(err)
			}
			s := spec(t)
			if len(c.f.networks) == 0 {
				s.Avoid = []netip.Prefix{netip.MustParsePrefix(c.taken[0])}
			}
			if _, err := d.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			made := c.f.networks[len(c.f.networks)-1]
			if have := made.IPAM.Config[0].Subnet; have != want.String() {
				t.Errorf("subnet %s, want %s", have, want)
			}
		})
	}
}

func TestCreateUndoesAll(t *testing.T) {
	f := &fakeEngine{version: "1.41", info: full("1"), ends: true}
	d, err := f.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(t.Context(), spec(t)); err == nil || !strings.Contains(err.Error(), "ended at once with exit code 3") {
		t.Fatalf("create of a node that ends at once: %v", err)
	}
	if len(f.containers) != 0 || len(f.networks) != 0 {
		t.Errorf("left: %d containers, %d networks", len(f.containers), len(f.networks))
	}
}

func TestLimitsThatTheEngineCannotKeep(t *testing.T) {
	f := &fakeEngine{version: "1.41", info: system.Info{CgroupVersion: "1"}}
	d, err := f.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Create(t.Context(), spec(t))
	var explained *cluster.Error
	if !errors.As(err, &explained) || !strings.Contains(explained.Hint, "delegate") {
		t.Errorf("error %v, want one with a hint", err)
	}
}

func TestNew(t *testing.T) {
	if _, err := docker.New(t.Context(), docker.Options{Home: "/home", Host: "unix://" + t.TempDir() + "/none"}); !errors.Is(err, cluster.ErrNoEngine) {
		t.Errorf("no engine: %v", err)
	}
	if _, err := (&fakeEngine{version: "1.40"}).serve(t); !errors.Is(err, cluster.ErrNoEngine) || !strings.Contains(err.Error(), "1.41 is needed") {
		t.Errorf("old engine: %v", err)
	}
	t.Setenv("DOCKER_HOST", "unix://"+t.TempDir()+"/elsewhere")
	if _, err := docker.New(t.Context(), docker.Options{Home: "/home"}); !errors.Is(err, cluster.ErrNoEngine) || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("DOCKER_HOST: %v", err)
	}
}
