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

// link is what addresses needs of the interface to the other nodes.
type link interface {
	List() ([]netip.Addr, error) // the addresses with a prefix of full length
	Add(netip.Addr) error        // nil if the address is there already
	Remove(netip.Addr) error     // nil if the address is not there
	Announce([]netip.Addr) error // tells the neighbours that the addresses are here
}

// addresses holds the load balancer addresses that the control plane assigns to this node: each is an address of its uplink,
// and neighbours learn by ARP that it has moved here. Addresses are kept while the control plane is down; when the node is
// partitioned they are dropped, because the kernel answers ARP whatever the firewall says.
type addresses struct {
	link        link
	first, last netip.Addr // the range of load balancers' addresses: no other is touched
	log         *slog.Logger

	mu    sync.Mutex
	cut   bool
	added chan struct{} // of size 1: an address was added
}

var _ lifecycle.Component = (*addresses)(nil)

func newAddresses(uplink string, self netip.Addr, log *slog.Logger) *addresses {
	first, last := cluster.LoadBalancerRange(cluster.NodeSubnet(self))
	return &addresses{link: uplinkAddresses{uplink}, first: first, last: last, log: log, added: make(chan struct{}, 1)}
}

func (a *addresses) Name() cluster.ComponentName { return "addresses" }

// holdAddresses lets the node hold load balancer addresses, and drop them while it is partitioned. With load balancers
// disabled it returns nil and removes those of an earlier process.
func holdAddresses(c cluster.NodeConfig, up uplink, p *partition, mux *http.ServeMux, log *slog.Logger) (*addresses, error) {
	a := newAddresses(up.name, up.addr, log)
	if !c.Enabled(cluster.FeatureLoadBalancer) {
		return nil, a.change(nil)
	}
	a.register(mux)
	p.isolate = a.isolate
	return a, nil
}

// maxAddressList is more bytes than a list of every possible address has.
const maxAddressList = 64 << 10

// register adds the agent's route for addresses:
//
//	PUT /v1/addresses  the addresses to hold, as a JSON list; answers with those that are held. 409 while partitioned
func (a *addresses) register(mux *http.ServeMux) {
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

// errForeignAddress refuses an address outside the range of load balancers.
var errForeignAddress = errors.New("not an address for load balancers")

// set makes the node hold exactly want. It changes as much as it can even if some changes fail.
func (a *addresses) set(want []netip.Addr) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range want {
		if !a.inRange(w) {
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
		errs = append(errs, a.link.Announce(added)) // Run repeats it
		select {
		case a.added <- struct{}{}:
		default:
		}
	}
	if len(added) > 0 || len(have)+len(added) != len(want) {
		a.log.Info("load balancer addresses changed", "held", want)
	}
	return errors.Join(errs...)
}

func wrapAddress(verb string, addr netip.Addr, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s address %s: %w", verb, addr, err)
}

// isolate drops all addresses when the node is cut off, and refuses new ones until it no longer is.
func (a *addresses) isolate(cut bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cut = cut
	if !cut {
		return
	}
	if err := a.change(nil); err != nil {
		a.log.Error("drop addresses of the partitioned node", "err", err)
	}
}

// held lists the uplink's addresses that are load balancers', in order.
func (a *addresses) held() ([]netip.Addr, error) {
	all, err := a.link.List()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	held := []netip.Addr{} // not null in JSON
	for _, x := range all {
		if a.inRange(x) {
			held = append(held, x)
		}
	}
	slices.SortFunc(held, netip.Addr.Compare)
	return held, nil
}

func (a *addresses) inRange(x netip.Addr) bool { return !x.Less(a.first) && !a.last.Less(x) }

// announcePauses are the pauses between announcements: short after a change, since an announcement may be lost, then long.
// The last one is used from then on.
func announcePauses() []time.Duration {
	return []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 1500 * time.Millisecond, 10 * time.Second}
}

// Run announces the held addresses, again and again: a neighbour may have missed an announcement or forgotten it.
func (a *addresses) Run(ctx context.Context, ready func()) error {
	ready()
	pauses, step := announcePauses(), 0
	timer := time.NewTimer(pauses[0]) // an earlier process may have left addresses
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.added:
			step = 0
		case <-timer.C:
			a.announce()
			step = min(step+1, len(pauses)-1)
		}
		timer.Reset(pauses[step])
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
