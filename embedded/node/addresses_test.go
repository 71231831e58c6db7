package node

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeLink is an interface with the node's own address.
type fakeLink struct {
	mu        sync.Mutex
	addrs     []string
	announced []string
	broken    bool
}

func (f *fakeLink) List() ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []netip.Addr
	for _, a := range f.addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

func (f *fakeLink) Add(a netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken {
		return errors.New("no such device")
	}
	f.addrs = append(f.addrs, a.String())
	return nil
}

func (f *fakeLink) Remove(a netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addrs = slices.DeleteFunc(f.addrs, func(x string) bool { return x == a.String() })
	return nil
}

func (f *fakeLink) Announce(list []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range list {
		f.announced = append(f.announced, a.String())
	}
	return nil
}

// newTestAddresses returns the addresses of node 10.246.0.2, with have on its uplink.
func newTestAddresses(have ...string) (*addresses, *fakeLink) {
	f := &fakeLink{addrs: have}
	a := newAddresses("eth0", netip.MustParseAddr("10.246.0.2"), slog.New(slog.DiscardHandler))
	a.link = f
	return a, f
}

func TestAddresses(t *testing.T) {
	a, f := newTestAddresses("10.246.0.2", "10.9.9.9", "10.246.0.203")
	mux := http.NewServeMux()
	a.register(mux)
	for _, c := range []struct {
		name, method, body string
		status             int
		answer             string
		held, announced    string
	}{
		{"replaces what an earlier process left", "PUT", `["10.246.0.201","10.246.0.200"]`, 200, `["10.246.0.200","10.246.0.201"]`,
			"10.246.0.2 10.9.9.9 10.246.0.201 10.246.0.200", "10.246.0.201 10.246.0.200"},
		{"unchanged", "PUT", `["10.246.0.200","10.246.0.201"]`, 200, `["10.246.0.200","10.246.0.201"]`,
			"10.246.0.2 10.9.9.9 10.246.0.201 10.246.0.200", ""},
		{"one removed", "PUT", `["10.246.0.200"]`, 200, `["10.246.0.200"]`, "10.246.0.2 10.9.9.9 10.246.0.200", ""},
		{"the node's own address", "PUT", `["10.246.0.2"]`, 400, "hold 10.246.0.2: not an address for load balancers", "10.246.0.2 10.9.9.9 10.246.0.200", ""},
		{"broadcast address", "PUT", `["10.246.0.255"]`, 400, "not an address", "10.246.0.2 10.9.9.9 10.246.0.200", ""},
		{"not JSON", "PUT", `{`, 400, "read addresses", "10.246.0.2 10.9.9.9 10.246.0.200", ""},
		{"empty list", "PUT", `[]`, 200, `[]`, "10.246.0.2 10.9.9.9", ""},
	} {
		f.announced = nil
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(c.method, "/v1/addresses", strings.NewReader(c.body)))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.answer) {
			t.Errorf("%s: %d %s, want %d %s", c.name, w.Code, w.Body, c.status, c.answer)
		}
		if d := cmp.Diff([]string{c.held, c.announced}, []string{strings.Join(f.addrs, " "), strings.Join(f.announced, " ")}); d != "" {
			t.Errorf("%s: held and announced (-want +got):\n%s", c.name, d)
		}
	}
	f.broken = true
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("PUT", "/v1/addresses", strings.NewReader(`["10.246.0.200"]`)))
	if w.Code != 500 || !strings.Contains(w.Body.String(), "hold address 10.246.0.200: no such device") {
		t.Errorf("broken interface: %d %s", w.Code, w.Body)
	}
}

func TestAddressesOfAPartitionedNode(t *testing.T) {
	a, f := newTestAddresses("10.246.0.2")
	want := []netip.Addr{netip.MustParseAddr("10.246.0.200")}
	if _, err := a.set(want); err != nil {
		t.Fatal(err)
	}
	a.isolate(true)
	if d := cmp.Diff([]string{"10.246.0.2"}, f.addrs); d != "" {
		t.Errorf("addresses while partitioned (-want +got):\n%s", d)
	}
	if _, err := a.set(want); !errors.Is(err, errPartitioned) || len(f.addrs) != 1 {
		t.Errorf("set while partitioned: addresses %v, error %v", f.addrs, err)
	}
	a.isolate(false)
	if _, err := a.set(want); err != nil || len(f.addrs) != 2 {
		t.Errorf("set after the partition: addresses %v, error %v", f.addrs, err)
	}
}

// A new address is announced several times in the first seconds, and every ten seconds after that.
func TestAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f := newTestAddresses("10.246.0.2")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx, func() {}) }()
		time.Sleep(time.Minute)
		if len(f.announced) != 0 {
			t.Errorf("announced %v", f.announced)
		}
		if _, err := a.set([]netip.Addr{netip.MustParseAddr("10.246.0.200")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Second + time.Millisecond)
		if len(f.announced) != 4 {
			t.Errorf("announced %d times in the first seconds, want 4", len(f.announced))
		}
		time.Sleep(time.Minute)
		if len(f.announced) != 10 {
			t.Errorf("announced %d times after a minute, want 10", len(f.announced))
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestGratuitousARP(t *testing.T) {
	mac, err := net.ParseMAC("02:00:00:00:00:07")
	if err != nil {
		t.Fatal(err)
	}
	have := hex.EncodeToString(gratuitousARP(arpReply, mac, netip.MustParseAddr("10.246.0.200")))
	want := "ffffffffffff" + "020000000007" + "0806" + "0001" + "0800" + "06" + "04" + "0002" +
		"020000000007" + "0af600c8" + "020000000007" + "0af600c8"
	if have != want {
		t.Errorf("frame\n%s, want\n%s", have, want)
	}
}
