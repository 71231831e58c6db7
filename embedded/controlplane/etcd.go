package controlplane

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// etcd is the store: one member, which listens on unix sockets only.
type etcd struct {
	layout cluster.Layout
	files  files
	spec   cluster.Spec
	logger *zap.Logger
	store  *etcdStore   // gets the server once it serves; may be nil
	seeded *atomic.Bool // gets whether this run has written the first objects; nil for none to be written

	report func(error)
}

var (
	_ lifecycle.Component = (*etcd)(nil)
	_ lifecycle.Reporter  = (*etcd)(nil)
)

func (e *etcd) Name() cluster.ComponentName { return cluster.Etcd }

// Report implements lifecycle.Reporter. report is called with why etcd accepts no writes, and with nil once it does.
func (e *etcd) Report(report func(error)) { e.report = report }

// Run works once a process, see upstreamUnits.
func (e *etcd) Run(ctx context.Context, ready func()) error {
	config, err := e.config()
	if err != nil {
		return lifecycle.Permanent(err)
	}
	srv, err := embed.StartEtcd(config) // returns before etcd can serve
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer srv.Close() // returning is the only "stopped" signal
	if err := e.lead(ctx, srv); err != nil {
		return fmt.Errorf("wait for etcd: %w", err)
	}
	if e.seeded != nil {
		wrote, err := seed(ctx, srv.Server, e.spec)
		if err != nil {
			return err
		}
		e.seeded.Store(wrote)
	}
	space := etcdSpace{server: srv.Server, dir: config.Dir, logger: e.logger, report: e.report}
	keeping, stop := context.WithCancel(ctx)
	var kept sync.WaitGroup
	kept.Go(func() { space.keep(keeping) })
	defer kept.Wait()
	defer stop()
	if e.store != nil {
		e.store.Store(srv.Server)
		defer e.store.Store(nil)
	}
	ready()
	return wait(ctx, nil, srv.Err()) // a nil channel never fires
}

// lead returns when etcd leads, and so accepts writes.
func (e *etcd) lead(ctx context.Context, srv *embed.Etcd) error {
	electing, elected := context.WithCancel(ctx)
	var election sync.WaitGroup
	election.Go(func() { elect(electing, srv.Server) })
	defer election.Wait()
	defer elected()
	return wait(ctx, srv.Server.ReadyNotify(), srv.Err())
}

func (e *etcd) config() (*embed.Config, error) {
	c := embed.NewConfig()
	// Extra arguments first: a user cannot change the settings below.
	fs := flag.NewFlagSet(string(cluster.Etcd), flag.ContinueOnError)
	c.AddFlags(fs)
	for name, value := range e.spec.Kubernetes.ExtraArgs[string(cluster.Etcd)] {
		if err := fs.Set(name, value); err != nil {
			return nil, fmt.Errorf("set flag %s: %w", name, err)
		}
	}
	// etcd stores the advertised URL in its data, and a cluster's directory may be moved or copied. So it is a constant of
	// the form that etcd requires; nothing dials it, since there is one member.
	advertised := []url.URL{{Scheme: "unix", Host: "kl:1"}}
	c.Name = "kl"
	c.Dir = absolute(e.layout.EtcdDir())
	c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: absolute(e.layout.EtcdSocket())}}
	// etcd takes a peer's socket from the host part. With the path alone it would listen on an abstract socket, which every
	// user of the machine can open.
	c.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: e.files.etcdPeerSocket()}}
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = advertised, advertised
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.UnsafeNoFsync = e.spec.Ephemeral
	// Every tick wakes the process, for as long as it runs: see elect for what saves a single member the election timeout. etcd wants at
	// least five ticks in one.
	c.TickMs, c.ElectionMs = 500, 2500
	// Ticks that come beside etcd's own loop could start the election while the log is being applied again after a restart, and
	// raft panics if etcd compacts the log in that moment ("error scanning unapplied entries").
	c.InitialElectionTickAdvance = false
	c.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // NewConfig leaves it zero, which warns of every request
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(e.logger)
	return c, nil
}

// wait returns nil when done fires, the error when failed does, and ctx's error when ctx is done.
func wait(ctx context.Context, done <-chan struct{}, failed <-chan error) error {
	select {
	case <-done:
		return nil
	case err := <-failed:
		if err == nil {
			return errors.New("ended without an error")
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
