package doctor

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
)

// System is what the checks know about the machine. Host fills it in for the real one.
type System struct {
	Root     string                          // prefix of /proc and /sys; "" is the real root
	Home     cluster.Home                    // where kl keeps its files
	Now      func() time.Time                // the clock
	DiskFree func(dir string) (int64, error) // bytes an unprivileged user may still write
	// DataDir is where the container engine keeps nodes on this machine; empty if that is not known, or not elsewhere than Home.
	DataDir    func(ctx context.Context) string
	Exists     bool // the cluster to be started exists: all that it needs more space for is there
	UID        int
	Nodes      int                                        // expected at the same time
	LongName   string                                     // longest cluster name expected: sizes socket paths
	Engine     func(ctx context.Context) (string, error)  // describes the engine that answers, or why none does
	Orphans    func(ctx context.Context) []cluster.Orphan // nodes whose files are gone, of this user's homes; nil knows of none
	Interfaces func() ([]netip.Prefix, error)             // addresses of this machine
	Listen     func() error                               // whether loopback takes a listener
}

// Host is the real machine. engine describes the container engine that answers, or says why none does.
func Host(home cluster.Home, engine func(ctx context.Context) (string, error)) System {
	return System{
		Home: home, Now: time.Now, DiskFree: cluster.DiskFree, UID: os.Getuid(), LongName: cluster.DefaultName, Nodes: 8,
		Engine: engine, Interfaces: interfaces, Listen: listen,
	}
}

// read returns a file below /proc or /sys without surrounding space; "" if it cannot be read.
func (s System) read(path string) string {
	b, err := os.ReadFile(filepath.Join(s.Root, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number returns a file's content as a number, and false if there is none.
func (s System) number(path string) (int64, bool) {
	n, err := strconv.ParseInt(s.read(path), 10, 64)
	return n, err == nil
}

func (s System) exists(path string) bool {
	_, err := os.Stat(filepath.Join(s.Root, path))
	return err == nil
}

func interfaces() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			out = append(out, p)
		}
	}
	return out, nil
}

func listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		return err
	}
	return l.Close()
}
