package config

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Machine holds the capacities that a Spec is checked against. The zero value checks nothing.
type Machine struct {
	CPUs   int   // logical processors
	Memory int64 // bytes
	Exists func(path string) bool
	HasIP  func(netip.Addr) bool // reports whether a network interface has the address
}

// ThisMachine is the machine kl runs on. Memory is 0 on systems without /proc/meminfo.
func ThisMachine() Machine {
	return Machine{CPUs: runtime.NumCPU(), Memory: memTotal(), Exists: func(p string) bool {
		_, err := os.Stat(p)
		return err == nil
	}, HasIP: hasIP}
}

// hasIP is true as well if the machine does not tell its addresses.
func hasIP(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip.AsSlice())
	})
}

func memTotal() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemTotal:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}
