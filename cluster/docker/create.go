package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/klkube/kl/cluster"
)

// grace is how long a new node is watched for an early end. The node boots meanwhile: waiting delays nothing.
const grace = 250 * time.Millisecond

// inFlight is what this process is making in a cluster.
type inFlight struct {
	creates int
	addrs   map[netip.Addr]bool
}

// Create makes the image, the network and the container of a node, each if it is missing, and starts it.
func (d *Driver) Create(ctx context.Context, spec cluster.NodeSpec) (cluster.Node, error) {
	if err := ctx.Err(); err != nil {
		return cluster.Node{}, wrap("create node "+spec.Name, err)
	}
	d.enter(spec.Cluster)
	n, err := d.create(ctx, spec)
	err = errors.Join(err, d.leave(ctx, spec.Cluster, err != nil))
	if err == nil {
		return n, nil
	}
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	var explained *cluster.Error
	if errors.As(err, &explained) {
		return cluster.Node{}, err
	}
	return cluster.Node{}, &cluster.Error{Op: "create node", Node: spec.Name, Err: err, Hint: hint(err)}
}

// hint knows what to do about the engine's commoner complaints.
func hint(err error) string {
	switch s := err.Error(); {
	case strings.Contains(s, "port is already allocated"), strings.Contains(s, "address already in use"):
		return "another program uses the port: choose another one, see `ss -lntp`"
	case strings.Contains(s, "bind source path does not exist"):
		return "create the directory on the host first"
	case strings.Contains(s, "no space left on device"):
		return "free disk space, e.g. with `docker system prune`"
	case errors.Is(err, cluster.ErrNoSubnet):
		return "remove unused networks with `docker network prune`"
	}
	return ""
}

func (d *Driver) create(ctx context.Context, spec cluster.NodeSpec) (cluster.Node, error) {
	image := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, err := d.info(ctx) // place asks for it, and need not wait then
		image <- errors.Join(err, d.Prepare(ctx, spec.Cluster, spec.Payload))
	}()
	subnet, err := d.ensureNetwork(ctx, spec.Cluster, netip.Prefix{}, spec.Avoid)
	if err != nil {
		cancel()
		<-image
		return cluster.Node{}, err
	}
	if err := <-image; err != nil {
		return cluster.Node{}, err
	}
	for {
		id, err := d.place(ctx, spec, subnet)
		if err != nil {
			return cluster.Node{}, err
		}
		var n cluster.Node
		if err = d.launch(ctx, id); err == nil {
			n, err = d.inspect(ctx, id)
		}
		if err == nil {
			return n, nil
		}
		if undo := d.discard(ctx, id); undo != nil {
			return cluster.Node{}, errors.Join(err, undo)
		}
		switch {
		case d.modes.refused(err):
			d.log.Info("engine refuses privileged containers, nodes do without some capabilities", "reason", err)
		case strings.Contains(err.Error(), "is ambiguous"): // another process is about to remove its twin of the network
			if err := pause(ctx); err != nil {
				return cluster.Node{}, err
			}
		default:
			return cluster.Node{}, err
		}
	}
}

// place makes the container of a node, not started, with an address that no other node has. The engine reserves the
// addresses of running containers only, so labels tell which are taken; whoever finds another container with its
// address afterwards gives way.
func (d *Driver) place(ctx context.Context, spec cluster.NodeSpec, subnet netip.Prefix) (string, error) {
	info, err := d.info(ctx)
	if err != nil {
		return "", wrap("ask the engine", err)
	}
	for range tries {
		addr, release, err := d.reserve(ctx, spec, subnet)
		if err != nil {
			return "", err
		}
		id, twin, err := func() (string, bool, error) {
			defer release()
			config, host, network, err := configure(spec, subnet, addr, info, &d.modes)
			if err != nil {
				return "", false, err
			}
			detached, cancel := detach(ctx) // a cancelled request may still have been served, unknown to us
			defer cancel()
			made, err := d.client.ContainerCreate(detached, config, host, network, nil, containerName(spec.Cluster, spec.Name))
			if errdefs.IsConflict(err) {
				return "", false, fmt.Errorf("%w: container %s", cluster.ErrNodeExists, containerName(spec.Cluster, spec.Name))
			}
			if err != nil {
				return "", false, wrap("create container", err)
			}
			twin, err := d.hasTwin(detached, spec.Cluster, made.ID, addr)
			return made.ID, twin, err
		}()
		if err == nil && !twin {
			err = ctx.Err()
		}
		if err == nil && !twin || id == "" {
			return id, err
		}
		if err := errors.Join(err, d.discard(ctx, id)); err != nil {
			return "", err
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
	return "", errors.New("find a free address: others take the same ones at the same time")
}

// reserve chooses an address; release it when the container that has it is there, or is not to be.
func (d *Driver) reserve(ctx context.Context, spec cluster.NodeSpec, subnet netip.Prefix) (addr netip.Addr, release func(), err error) {
	unlock, err := d.networks.lock(ctx, spec.Cluster)
	if err != nil {
		return addr, nil, err
	}
	defer unlock()
	nodes, err := d.List(ctx, spec.Cluster)
	if err != nil {
		return addr, nil, err
	}
	taken := map[netip.Addr]bool{}
	for _, n := range nodes {
		if a, err := netip.ParseAddr(n.IP); err == nil {
			taken[a] = true
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	mine := d.creating[spec.Cluster].addrs
	addr, err = cluster.NodeAddress(subnet, spec.Name, func(a netip.Addr) bool { return taken[a] || mine[a] })
	if err != nil {
		return addr, nil, err
	}
	mine[addr] = true
	return addr, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(mine, addr)
	}, nil
}

func (d *Driver) hasTwin(ctx context.Context, clusterName, id string, addr netip.Addr) (bool, error) {
	nodes, err := d.List(ctx, clusterName)
	for _, n := range nodes {
		if n.ID != id && n.IP == addr.String() {
			return true, nil
		}
	}
	return false, err
}

// launch starts a container and watches its first moments.
func (d *Driver) launch(ctx context.Context, id string) error {
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	exited, lost := d.client.ContainerWait(watch, id, container.WaitConditionNextExit)
	if err := d.client.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return wrap("start container", err)
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case err := <-lost:
		return wrap("watch container", err)
	case r := <-exited:
		return &cluster.Error{
			Op: "start node", Err: fmt.Errorf("its init ended at once with exit code %d", r.StatusCode),
			Log: d.lastLines(ctx, id),
		}
	}
}

// lastLines is the end of what a container has written.
func (d *Driver) lastLines(ctx context.Context, id string) []string {
	r, err := d.client.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if err != nil {
		return []string{"no log: " + err.Error()}
	}
	defer r.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, r); err != nil {
		return []string{"no log: " + err.Error()}
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

// discard removes a container that was not to be, also after ctx has ended.
func (d *Driver) discard(ctx context.Context, id string) error {
	ctx, cancel := detach(ctx)
	defer cancel()
	return d.remove(ctx, id)
}

func (d *Driver) enter(clusterName string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.creating[clusterName]
	if !ok {
		f = &inFlight{addrs: map[netip.Addr]bool{}}
		d.creating[clusterName] = f
	}
	f.creates++
}

// leave ends what enter began. After a failure, the last to leave removes the network if no node uses it.
func (d *Driver) leave(ctx context.Context, clusterName string, failed bool) error {
	ctx, cancel := detach(ctx)
	defer cancel()
	unlock, err := d.networks.lock(ctx, clusterName)
	if err != nil {
		return err
	}
	defer unlock()
	d.mu.Lock()
	f := d.creating[clusterName]
	f.creates--
	last := f.creates == 0
	if last {
		delete(d.creating, clusterName)
	}
	d.mu.Unlock()
	if !failed || !last {
		return nil
	}
	nodes, err := d.List(ctx, clusterName)
	if err != nil || len(nodes) > 0 {
		return err
	}
	return d.removeNetworks(ctx, clusterName)
}
