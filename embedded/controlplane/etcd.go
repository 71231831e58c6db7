package controlplane

import (
	"context"
	"flag"
	"fmt"
	"net/url"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// etcd is the store: one member that listens on unix sockets alone.
type etcd struct {
	layout cluster.Layout
	files  files
	spec   cluster.Spec
	logger *zap.Logger
}

var _ lifecycle.Component = (*etcd)(nil)

func (e *etcd) Name() cluster.ComponentName { return cluster.Etcd }

// Run fails for good if the data cannot be opened: another attempt would meet the same data.
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
	if err := wait(ctx, srv.Server.ReadyNotify(), srv.Err()); err != nil {
		return fmt.Errorf("wait for etcd: %w", err)
	}
	ready()
	return wait(ctx, nil, srv.Err()) // a nil channel never fires
}

func (e *etcd) config() (*embed.Config, error) {
	c := embed.NewConfig()
	// Extra arguments first: what follows is the design's, not the user's.
	fs := flag.NewFlagSet(string(cluster.Etcd), flag.ContinueOnError)
	c.AddFlags(fs)
	for name, value := range e.spec.Kubernetes.ExtraArgs[string(cluster.Etcd)] {
		if err := fs.Set(name, value); err != nil {
			return nil, fmt.Errorf("set flag %s: %w", name, err)
		}
	}
	// What the member advertises is remembered in its data, and a cluster's directory may be moved or cloned: it is a
	// fixed name of the form that etcd asks for, never dialed because there is one member.
	nowhere := []url.URL{{Scheme: "unix", Host: "kl:1"}}
	c.Name = "kl"
	c.Dir = absolute(e.layout.EtcdDir())
	c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: e.files.etcdSocket()}}
	c.ListenPeerUrls = []url.URL{{Scheme: "unix", Path: e.files.etcdPeerSocket()}}
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = nowhere, nowhere
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.UnsafeNoFsync = e.spec.Ephemeral
	// A single member still waits a whole election, a second by default, before it serves.
	c.TickMs, c.ElectionMs = 10, 50
	c.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // zero, as it is here, warns of every request
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
			return fmt.Errorf("ended without saying why")
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
