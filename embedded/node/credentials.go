package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"os"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/pkg/kubelet/certificate/bootstrap"

	"github.com/klkube/kl/cluster"
)

// bootstrapFile holds the token that the node joins with, for as long as it does.
const bootstrapFile = "/run/kl-bootstrap.kubeconfig"

// credentials gets the node's client certificate by TLS bootstrap. The kubelet could do so itself, but only after it has
// started, and the agent and kube-proxy use the same certificate. The kubelet rotates it later.
type credentials struct {
	config cluster.NodeConfig
	join   func(ctx context.Context) (token string, err error) // of tunnel.Agent
	log    *slog.Logger
}

func (c *credentials) Name() cluster.ComponentName { return "credentials" }

// Run retries until the node has credentials: the control plane may start later or be down.
func (c *credentials) Run(ctx context.Context, ready func()) error {
	if err := os.MkdirAll(certDir, 0o700); err != nil {
		return err
	}
	if err := dropOutdated(certDir, cluster.NodeCAFile, c.config.RenewBefore); err != nil {
		c.log.Warn("cannot tell which certificates to renew", "err", err)
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

// bootstrap makes sure that the node has a client certificate that is valid. Without one it joins, as it did the first time: also when
// the cluster's authority was replaced, and a certificate of the old one would not do much longer.
func (c *credentials) bootstrap(ctx context.Context) error {
	if c.valid() {
		return nil
	}
	token, err := c.join(ctx)
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["kl"] = &clientcmdapi.Cluster{
		Server: "https://" + net.JoinHostPort(c.config.Gateway, strconv.Itoa(c.config.APIPort)), CertificateAuthority: cluster.NodeCAFile,
	}
	config.AuthInfos["bootstrap"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["kl"] = &clientcmdapi.Context{Cluster: "kl", AuthInfo: "bootstrap"}
	config.CurrentContext = "kl"
	if err := clientcmd.WriteToFile(*config, bootstrapFile); err != nil {
		return fmt.Errorf("write bootstrap kubeconfig: %w", err)
	}
	err = bootstrap.LoadClientCert(ctx, kubeconfigFile, bootstrapFile, certDir, types.NodeName(c.config.Name))
	if rerr := os.Remove(bootstrapFile); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// valid reports whether the kubeconfig has a client certificate that has not expired. Upstream looks, too, but with the token
// at hand.
func (c *credentials) valid() bool {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfigFile)
	if err != nil {
		return false
	}
	pair, err := tls.LoadX509KeyPair(config.CertFile, config.KeyFile)
	return err == nil && time.Now().Before(pair.Leaf.NotAfter)
}

// hubTLS trusts the hub of the node's cluster alone.
func hubTLS() (*tls.Config, error) {
	roots, err := certutil.NewPool(cluster.NodeCAFile)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's certificate authority: %w", err)
	}
	return &tls.Config{RootCAs: roots, ServerName: cluster.TunnelServerName, MinVersion: tls.VersionTLS13}, nil
}

// poll calls done at growing intervals, of 20 to 500 ms, until it returns true or an error, or ctx is done.
func poll(ctx context.Context, done wait.ConditionWithContextFunc) error {
	intervals := wait.Backoff{Duration: 20 * time.Millisecond, Factor: 1.5, Cap: 500 * time.Millisecond, Steps: math.MaxInt}
	return intervals.DelayFunc().Until(ctx, true, true, done)
}
