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
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/klkube/kl/cluster"
)

// startWatch is how long a new node is watched: one that ends within it has failed to start. Nothing is delayed by the wait,
// because the node boots in the meantime.
const startWatch = 250 * time.Millisecond

// inFlight is what this process is creating in a cluster.
type inFlight struct {
	creates int
	addrs   map[netip.Addr]bool
}

// Create imports the image and makes the network if they are missing, and creates and starts the node's container.
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

// hint says what to do about common errors of the engine.
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
		_, err := d.info(ctx) // so that place has the answer when it needs it
		image <- errors.Join(err, d.Prepare(ctx, spec.Cluster, spec.Payload))
	}()
	net, err := d.ensureNetwork(ctx, spec.Cluster, netip.Prefix{}, spec.Avoid)
	if err != nil {
		cancel()
		if imageErr := <-image; !errors.Is(imageErr, context.Canceled) {
			err = errors.Join(err, imageErr)
		}
		return cluster.Node{}, err
	}
	if err := <-image; err != nil {
		return cluster.Node{}, err
	}
	for {
		lacks := d.modes.missingCaps()
		id, err := d.place(ctx, spec, net)
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
		case d.modes.refused(err, lacks):
			d.log.Info("engine refuses privileged containers, nodes run without some capabilities", "reason", err)
		case strings.Contains(err.Error(), "is ambiguous"): // another process has yet to remove its network of the same name
			if err := pause(ctx); err != nil {
				return cluster.Node{}, err
			}
		default:
			return cluster.Node{}, err
		}
	}
}

// place creates the container of a node, without starting it, with an address that no other node has. The engine reserves
// the addresses of running containers alone, so the labels of all containers show which are taken. A process that then finds
// a second container with the same address removes its own and tries again.
func (d *Driver) place(ctx context.Context, spec cluster.NodeSpec, net nodeNetwork) (string, error) {
	info, err := d.info(ctx)
	if err != nil {
		return "", wrap("ask the engine", err)
	}
	for range tries {
		addr, release, err := d.reserve(ctx, spec, net.subnet)
		if err != nil {
			return "", err
		}
		id, unique, err := d.createContainer(ctx, spec, net, addr, info)
		release()
		if err == nil && unique {
			err = ctx.Err()
		}
		if err == nil && unique || id == "" {
			return id, err
		}
		if err := errors.Join(err, d.discard(ctx, id)); err != nil {
			return "", err
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
	return "", errors.New("find a free address: other processes take the same ones at the same time")
}

// createContainer creates the container of a node. unique is false if another container has the same address. If id is not
// empty the container exists, also with an error.
func (d *Driver) createContainer(ctx context.Context, spec cluster.NodeSpec, net nodeNetwork, addr netip.Addr, info system.Info) (id string, unique bool, err error) {
	config, host, network, err := d.configure(spec, net, addr, info)
	if err != nil {
		return "", false, err
	}
	ctx, cancel := detach(ctx) // so that it is known whether the container was created
	defer cancel()
	var name string
	var made container.CreateResponse
	for range 2 { // another home may take the name in between
		if name, err = d.freeName(ctx, spec); err != nil {
			return "", false, err
		}
		made, err = d.client.ContainerCreate(ctx, config, host, network, nil, name)
		if noEngineDir(err) { // images are then saved by the engine
			d.log.Info("nodes cannot read the engine's images", "reason", err)
			host.Mounts = withoutEngine(host.Mounts)
			made, err = d.client.ContainerCreate(ctx, config, host, network, nil, name)
		}
		if !errdefs.IsConflict(err) {
			break
		}
	}
	if errdefs.IsConflict(err) {
		return "", false, fmt.Errorf("%w: container %s", cluster.ErrNodeExists, name)
	}
	if err != nil {
		return "", false, wrap("create container", err)
	}
	taken, err := d.addressTaken(ctx, spec.Cluster, made.ID, addr)
	return made.ID, !taken, err
}

// freeName returns the name of a node's container: with a suffix, if the container of that name is not of this home.
func (d *Driver) freeName(ctx context.Context, spec cluster.NodeSpec) (string, error) {
	name := containerName(spec.Cluster, spec.Name)
	c, err := d.client.ContainerInspect(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		return name, nil
	case err != nil:
		return "", wrap("look for a container named "+name, err)
	case d.owns(c.Config.Labels, c.Mounts):
		return "", fmt.Errorf("%w: container %s", cluster.ErrNodeExists, name)
	}
	return name + d.suffix(), nil
}

// reserve chooses an address that release gives back: once the container exists, or could not be created.
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
		if n.Name == spec.Name { // its container may have another name than the one that is free
			return addr, nil, fmt.Errorf("%w: container %.12s", cluster.ErrNodeExists, n.ID)
		}
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

// addressTaken reports whether a container other than id has an address.
func (d *Driver) addressTaken(ctx context.Context, clusterName, id string, addr netip.Addr) (bool, error) {
	nodes, err := d.List(ctx, clusterName)
	for _, n := range nodes {
		if n.ID != id && n.IP == addr.String() {
			return true, nil
		}
	}
	return false, err
}

// launch starts a container and watches whether it ends at once.
func (d *Driver) launch(ctx context.Context, id string) error {
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	exited, lost := d.client.ContainerWait(watch, id, container.WaitConditionNextExit)
	if err := d.client.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return wrap("start container", err)
	}
	t := time.NewTimer(d.startWatch)
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
			Op: "start node", Err: errors.New("the node's init ended at once" + exitText(r.StatusCode)), Log: d.lastLines(ctx, id),
		}
	}
}

// exitText is empty for 0: engines also report 0 once they have restarted the container.
func exitText(code int64) string {
	if code == 0 {
		return ""
	}
	return fmt.Sprintf(" with exit code %d", code)
}

// lastLines returns the end of a container's log.
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

// discard removes the container of a node that failed, even after ctx has ended.
func (d *Driver) discard(ctx context.Context, id string) error {
	ctx, cancel := detach(ctx)
	defer cancel()
	return d.remove(ctx, id)
}

// enter counts a Create that has begun.
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

// leave counts a Create that has ended. If it failed and no other is under way, the network is removed unless a node uses it.
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
	return errors.Join(d.removeNetworks(ctx, clusterName), d.removeLayers(ctx))
}
