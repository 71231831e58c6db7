package node

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/pkg/kubelet/certificate/bootstrap"

	"github.com/klkube/kl/cluster"
)

// credentials gets the node's client certificate by TLS bootstrap. The kubelet could do so itself, but only after it has
// started, and the agent and kube-proxy use the same certificate. The kubelet rotates it later.
type credentials struct {
	node string
	log  *slog.Logger
}

func (c *credentials) Name() cluster.ComponentName { return "credentials" }

// Run retries until the node has credentials: the control plane may start later or be down.
func (c *credentials) Run(ctx context.Context, ready func()) error {
	if err := os.MkdirAll(certDir, 0o700); err != nil {
		return err
	}
	logged := ""
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		err := c.bootstrap(ctx)
		if err != nil && err.Error() != logged {
			logged = err.Error()
			c.log.Info("no credentials yet, retrying", "reason", err)
		}
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return ctx.Err()
}

func (c *credentials) bootstrap(ctx context.Context) error {
	if _, err := os.Stat(kubeconfigFile); err != nil { // without the file, the API server is needed
		if err := apiReady(ctx); err != nil {
			return fmt.Errorf("wait for the API server: %w", err)
		}
	}
	return bootstrap.LoadClientCert(ctx, kubeconfigFile, cluster.NodeBootstrap, certDir, types.NodeName(c.node))
}

// apiReady asks the API server once whether it is ready. The upstream bootstrap asks only every two seconds, which would be
// most of a node's start.
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

// poll calls done at growing intervals, of 20 to 500 ms, until it returns true or an error, or ctx is done.
func poll(ctx context.Context, done wait.ConditionWithContextFunc) error {
	intervals := wait.Backoff{Duration: 20 * time.Millisecond, Factor: 1.5, Cap: 500 * time.Millisecond, Steps: math.MaxInt}
	return intervals.DelayFunc().Until(ctx, true, true, done)
}
