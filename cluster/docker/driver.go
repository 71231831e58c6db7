package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"github.com/klkube/kl/cluster"
)

// minVersion is the API of Docker 20.10, the first with private cgroup namespaces on every host.
const minVersion = "1.41"

// Options configures a Driver. Only Home is required: without more it is the engine that the docker command would use, and
// no log.
type Options struct {
	Home   cluster.Home // absolute path; the driver sees and touches only what belongs to this home
	Host   string       // as DOCKER_HOST, which it overrides
	Logger *slog.Logger
	// Progress, if set, is called while the node image is imported, with the bytes sent so far and in total.
	Progress func(done, total int64)
}

// Driver makes nodes with a Docker engine. It is safe for concurrent use.
type Driver struct {
	client   *client.Client
	home     cluster.Home // without symbolic links
	owner    string
	log      *slog.Logger
	progress func(done, total int64)
	info     func(context.Context) (system.Info, error)

	images   keyedMutex // one import of an image at a time
	networks keyedMutex // one change to a cluster's network at a time
	modes    privileges

	startWatch time.Duration // how long a new node is watched

	mu       sync.Mutex
	creating map[string]*inFlight // by cluster
}

var (
	_ cluster.Driver   = (*Driver)(nil)
	_ cluster.Starter  = (*Driver)(nil)
	_ cluster.Pauser   = (*Driver)(nil)
	_ cluster.Execer   = (*Driver)(nil)
	_ cluster.Cleaner  = (*Driver)(nil)
	_ cluster.Preparer = (*Driver)(nil)
	_ cluster.Purger   = (*Driver)(nil)
	_ cluster.Storer   = (*Driver)(nil)
	_ cluster.Rehomer  = (*Driver)(nil)
	_ cluster.Orphaner = (*Driver)(nil)
)

// New connects to the engine. The error wraps [cluster.ErrNoEngine] if none answers.
func New(ctx context.Context, o Options) (*Driver, error) {
	if !filepath.IsAbs(string(o.Home)) {
		return nil, fmt.Errorf("make nodes with Docker: home %q is not an absolute path", o.Home)
	}
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if o.Host == "" && os.Getenv(client.EnvOverrideHost) == "" {
		o.Host = contextHost()
	}
	if o.Host != "" {
		opts = append(opts, client.WithHost(o.Host))
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, noEngine(err)
	}
	if _, err := c.Ping(ctx); err != nil {
		return nil, errors.Join(noEngine(err), c.Close())
	}
	c.NegotiateAPIVersion(ctx)
	if v := c.ClientVersion(); versions.LessThan(v, minVersion) {
		return nil, errors.Join(&cluster.Error{
			Op: "connect to the Docker engine", Err: fmt.Errorf("its API version is %s, %s is needed: %w", v, minVersion, cluster.ErrNoEngine),
			Hint: "update Docker to 20.10 or newer, or use --driver embedded",
		}, c.Close())
	}
	d := &Driver{
		client: c, home: o.Home.Real(), owner: o.Home.Owner(), log: o.Logger, progress: o.Progress,
		startWatch: startWatch, creating: map[string]*inFlight{},
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.progress == nil {
		d.progress = func(int64, int64) {}
	}
	d.modes.host = c.DaemonHost()
	d.info = onceOK(c.Info)
	return d, nil
}

func noEngine(err error) error {
	e := &cluster.Error{
		Op: "connect to the Docker engine", Err: fmt.Errorf("%w: %w", cluster.ErrNoEngine, err),
		Hint: "start Docker, point DOCKER_HOST at a running engine, or use --driver embedded (Linux, root)",
	}
	if errors.Is(err, os.ErrPermission) {
		e.Hint = "the user has no access to the Docker socket: run `sudo usermod -aG docker $USER` and log in again, or use sudo"
	}
	return e
}

// Name is docker.
func (d *Driver) Name() cluster.DriverName { return cluster.DriverDocker }

// DataDir returns the engine's data root. An engine that is reached by a socket of this machine may still keep its data in a virtual
// machine, where this machine has no such directory.
func (d *Driver) DataDir(ctx context.Context) (string, error) {
	info, err := d.info(ctx)
	if err != nil {
		return "", fmt.Errorf("ask the Docker engine for its data root: %w", err)
	}
	if !d.here(info) {
		return "", nil
	}
	return info.DockerRootDir, nil
}

// Close closes the connections to the engine.
func (d *Driver) Close() error { return d.client.Close() }

// onceOK calls f until it succeeds, and from then on returns that result.
func onceOK[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	var mu sync.Mutex
	var answer T
	var known bool
	return func(ctx context.Context) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if known {
			return answer, nil
		}
		a, err := f(ctx)
		if err == nil {
			answer, known = a, true
		}
		return a, err
	}
}

// keyedMutex is a set of locks with names. Its zero value is ready.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[string]chan struct{}
}

// lock waits for the lock of that name, or for ctx.
func (k *keyedMutex) lock(ctx context.Context, name string) (unlock func(), err error) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]chan struct{}{}
	}
	l, ok := k.locks[name]
	if !ok {
		l = make(chan struct{}, 1)
		k.locks[name] = l
	}
	k.mu.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
