package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// link is what addresses needs of the interface to the peers.
type link interface {
	List() ([]netip.Addr, error) // with a prefix of full length
	Add(netip.Addr) error        // nil if it is there
	Remove(netip.Addr) error     // nil if it is not there
	Announce([]netip.Addr) error // tells the neighbours that they are here
}

// addresses holds the load balancer addresses that the control plane gives this node: each is an address of its uplink,
// and neighbours learn by ARP that it has moved here. What is held stays when the control plane goes away; when the node is
// cut off, it is dropped, since the kernel answers ARP whatever a firewall says.
type addresses struct {
	link        link
	first, last netip.Addr // which addresses may be load balancers': no other is touched
	log         *slog.Logger

	mu    sync.Mutex
	cut   bool
	fresh chan struct{} // of size 1: something was added
}

var _ lifecycle.Component = (*addresses)(nil)

func newAddresses(uplink string, self netip.Addr, log *slog.Logger) *addresses {
	first, last := cluster.LoadBalancerRange(cluster.NodeSubnet(self))
	return &addresses{link: uplinkAddresses{uplink}, first: first, last: last, log: log, fresh: make(chan struct{}, 1)}
}

func (a *addresses) Name() cluster.ComponentName { return "addresses" }

// balance lets the node hold load balancer addresses, and drop them when it is cut off. With load balancers disabled it
// returns nil, and none is left of an earlier process.
func balance(c cluster.NodeConfig, up uplink, cable *partition, mux *http.ServeMux, log *slog.Logger) (*addresses, error) {
	a := newAddresses(up.name, up.addr, log)
	if !c.Enabled(cluster.FeatureLoadBalancer) {
		return nil, a.change(nil)
	}
	a.register(mux)
	cable.isolate = a.isolate
	return a, nil
}

// maxAddressList is the size of a list of every address there could be, and then some.
const maxAddressList = 64 << 10

// register adds what the agent answers about addresses. Both return the held ones as a JSON list.
//
//	GET /v1/addresses
//	PUT /v1/addresses  with the whole list of wanted ones; 409 while the node is cut off
func (a *addresses) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/addresses", func(w http.ResponseWriter, _ *http.Request) {
		held, err := a.held()
		answer(w, a.log, held, err, http.StatusInternalServerError)
	})
	mux.HandleFunc("PUT /v1/addresses", func(w http.ResponseWriter, r *http.Request) {
		var want []netip.Addr
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAddressList)).Decode(&want); err != nil {
			http.Error(w, "read addresses: "+err.Error(), http.StatusBadRequest)
			return
		}
		status := http.StatusInternalServerError
		held, err := a.set(want)
		switch {
		case errors.Is(err, errPartitioned):
			status = http.StatusConflict
		case errors.Is(err, errForeignAddress):
			status = http.StatusBadRequest
		}
		answer(w, a.log, held, err, status)
	})
}

// errForeignAddress is why an address is refused that cannot be a load balancer's.
var errForeignAddress = errors.New("not an address for load balancers")

// set makes want the held addresses. It does as much as it can whatever fails.
func (a *addresses) set(want []netip.Addr) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range want {
		if !a.ours(w) {
			return nil, fmt.Errorf("hold %s: %w", w, errForeignAddress)
		}
	}
	if a.cut {
		return nil, errPartitioned
	}
	err := a.change(want)
	held, herr := a.held()
	return held, errors.Join(err, herr)
}

func (a *addresses) change(want []netip.Addr) error {
	have, err := a.held()
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range have {
		if !slices.Contains(want, h) {
			errs = append(errs, wrapAddress("drop", h, a.link.Remove(h)))
		}
	}
	var added []netip.Addr
	for _, w := range want {
		if !slices.Contains(have, w) {
			added = append(added, w)
			errs = append(errs, wrapAddress("hold", w, a.link.Add(w)))
		}
	}
	if len(added) > 0 {
		errs = append(errs, a.link.Announce(added)) // at once, and then again by Run
		select {
		case a.fresh <- struct{}{}:
		default:
		}
	}
	if len(added) > 0 || len(have)+len(added) != len(want) {
		a.log.Info("load balancer addresses", "held", want)
	}
	return errors.Join(errs...)
}

func wrapAddress(verb string, addr netip.Addr, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s address %s: %w", verb, addr, err)
}

// isolate drops all addresses while the node is cut off, and refuses new ones.
func (a *addresses) isolate(cut bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cut = cut
	if !cut {
		return
	}
	if err := a.change(nil); err != nil {
		a.log.Error("addresses of a node that is cut off", "err", err)
	}
}

// held lists the addresses of the uplink that are load balancers', in order.
func (a *addresses) held() ([]netip.Addr, error) {
	all, err := a.link.List()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	held := []netip.Addr{} // not null in JSON
	for _, x := range all {
		if a.ours(x) {
			held = append(held, x)
		}
	}
	slices.SortFunc(held, netip.Addr.Compare)
	return held, nil
}

func (a *addresses) ours(x netip.Addr) bool { return !x.Less(a.first) && !a.last.Less(x) }

// pauses are between announcements: soon after a change, since an announcement may be lost, and then now and again.
func pauses() []time.Duration {
	return []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 1500 * time.Millisecond, 10 * time.Second}
}

// Run is a lifecycle.Component: it announces what the node holds.
func (a *addresses) Run(ctx context.Context, ready func()) error {
	ready()
	step := 0
	timer := time.NewTimer(pauses()[0]) // an earlier process may have left some
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.fresh:
			step = 0
		case <-timer.C:
			a.announce()
			step = min(step+1, len(pauses())-1)
		}
		timer.Reset(pauses()[step])
	}
}

func (a *addresses) announce() {
	a.mu.Lock()
	defer a.mu.Unlock()
	held, err := a.held()
	if err == nil && len(held) > 0 {
		err = a.link.Announce(held)
	}
	if err != nil {
		a.log.Warn("announce addresses", "err", err)
	}
}
