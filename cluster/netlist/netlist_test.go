//go:build linux

package netlist_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/klkube/kl/cluster/netlist"
)

func TestWhole(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		name        string
		interrupted int   // so many lists
		then        error // of the next one
		calls       int
		want        error
	}{
		{"at once", 0, nil, 1, nil},
		{"later", 3, nil, 4, nil},
		{"never", 1000, nil, 20, netlink.ErrDumpInterrupted},
		{"another error", 0, refused, 1, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			got, err := netlist.Whole(func() ([]int, error) {
				calls++
				if calls <= c.interrupted {
					return []int{1}, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
				}
				return []int{1, 2}, c.then
			})
			if !errors.Is(err, c.want) || calls != c.calls || c.want == nil && !slices.Equal(got, []int{1, 2}) {
				t.Errorf("%v, %v after %d calls, want %d calls and %v", got, err, calls, c.calls, c.want)
			}
		})
	}
}

func TestListsOfTheKernel(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := netlist.Addresses(lo)
	if err != nil || !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.IsLoopback() }) {
		t.Errorf("addresses of lo: %v, %v", addrs, err)
	}
	routes, err := netlist.Routes(&netlink.Route{LinkIndex: lo.Attrs().Index, Table: 255}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil || len(routes) == 0 {
		t.Errorf("local routes of lo: %v, %v", routes, err)
	}
}
