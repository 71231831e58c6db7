package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/klkube/kl/cluster"
)

const (
	socketPathLimit   = 108 // of sockaddr_un, with the closing zero
	longestSocketName = 24  // what a file in run/ may be called, but for those of nodes
	firstPort         = 20000
	lastPort          = 29999 // below NodePorts and the kernel's own choices
)

// preflight finds what would make up fail later and with a less clear error. warn is called with what might.
func (u *upRun) preflight(ctx context.Context, warn func(string)) error {
	if err := checkSocketPaths(u.layout, u.spec.NodeNames()); err != nil {
		return err
	}
	if u.host.Preflight == nil {
		return nil
	}
	p := Plan{Cluster: u.spec.Name, Exists: !u.fresh, Nodes: u.spec.NodeCount()}
	if d, ok := u.driver.(cluster.Storer); ok && p.Nodes > 0 {
		var err error
		if p.DataDir, err = d.DataDir(ctx); err != nil {
			return err
		}
	}
	return u.host.Preflight(ctx, p, warn)
}

// choosePort returns a free port of 127.0.0.1 for the API server of a new cluster, which neither the cluster publishes nor another
// one, running or not, was given.
func choosePort(h cluster.Home, s cluster.Spec) (int, error) {
	names, err := h.Names()
	if err != nil {
		return 0, err
	}
	specs, taken := []cluster.Spec{s}, map[int]bool{}
	for _, name := range names {
		if s, err := cluster.ReadSpec(h.Cluster(name)); err == nil {
			specs = append(specs, s)
		}
	}
	for _, s := range specs {
		taken[s.Kubernetes.APIServerPort] = true
		for _, p := range s.Forwarded() {
			taken[p.Host] = true
		}
	}
	span := lastPort - firstPort + 1
	for i, first := 0, rand.IntN(span); i < span; i++ {
		port := firstPort + (first+i)%span
		if !taken[port] && portFree(port) == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("choose a port: all of %d–%d are taken", firstPort, lastPort)
}

func portFree(port int) error {
	ln, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // a local call that does not wait
	if err != nil {
		return err
	}
	return ln.Close()
}

// checkPort returns an error that names the process that listens on the API server's port.
func checkPort(l cluster.Layout, port int) error {
	err := portFree(port)
	if err == nil {
		return nil
	}
	who := "another process"
	if pid, name := listener(port); pid != 0 {
		who = fmt.Sprintf("process %d (%s)", pid, name)
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		who = "the system"
	}
	return &cluster.Error{
		Op: fmt.Sprintf("listen on 127.0.0.1:%d for the API server", port), Err: err,
		Hint: fmt.Sprintf("%s has the port: stop it, or set another kubernetes.apiServerPort in %s", who, l.SpecFile()),
	}
}

// listener finds the process that listens on a port of 127.0.0.1 or of every address, as far as /proc shows it; 0 if unknown.
func listener(port int) (pid int, name string) {
	inodes := listeningInodes(port)
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		parts := strings.Split(link, "/")
		pid, err := strconv.Atoi(parts[2])
		if err != nil {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join("/proc", parts[2], "comm"))
		return pid, strings.TrimSpace(string(comm))
	}
	return 0, ""
}

func listeningInodes(port int) map[string]bool {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		for scan := bufio.NewScanner(f); scan.Scan(); {
			fields := strings.Fields(scan.Text())
			if len(fields) > 9 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == "0A" {
				inodes["socket:["+fields[9]+"]"] = true
			}
		}
		f.Close()
	}
	return inodes
}
