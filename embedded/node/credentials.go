package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/pkg/kubelet/certificate/bootstrap"

	"github.com/klkube/kl/cluster"
)

// credentials gets the node's client certificate by TLS bootstrap. The kubelet could do that itself, but only after it
// has started, and the agent and kube-proxy use the same certificate. From then on the kubelet rotates it.
type credentials struct {
	node string
	log  *slog.Logger
}

const (
	firstPoll = 20 * time.Millisecond
	maxPoll   = 500 * time.Millisecond
)

func (c *credentials) Name() cluster.ComponentName { return "credentials" }

// Run is a lifecycle.Component. It retries for as long as it takes: the control plane may come up later, or be away.
func (c *credentials) Run(ctx context.Context, ready func()) error {
	if err := os.MkdirAll(certDir, 0o700); err != nil {
		return err
	}
	told := ""
	err := poll(ctx, func() bool {
		err := c.bootstrap(ctx)
		if err != nil && err.Error() != told {
			told = err.Error()
			c.log.Info("no credentials yet, trying on", "reason", err)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return ctx.Err()
}

func (c *credentials) bootstrap(ctx context.Context) error {
	if _, err := os.Stat(kubeconfigFile); err != nil { // else the API need not be up
		if err := apiReady(ctx); err != nil {
			return fmt.Errorf("wait for the API server: %w", err)
		}
	}
	return bootstrap.LoadClientCert(ctx, kubeconfigFile, cluster.NodeBootstrap, certDir, types.NodeName(c.node))
}

// apiReady asks the API server once. The upstream bootstrap asks every two seconds, which is most of a node's start.
func apiReady(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", cluster.NodeBootstrap)
	if err != nil {
		return err
	}
	config.Timeout = 5 * time.Second
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// poll calls done at growing intervals until it is true.
func poll(ctx context.Context, done func() bool) error {
	for wait := firstPoll; !done(); wait = min(wait*3/2, maxPoll) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
