package controlplane

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/informers"
	certificates "k8s.io/client-go/informers/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/config"
	"k8s.io/kubernetes/pkg/controller/certificates/signer"
)

// signEarly signs the certificates of kubelets until kube-controller-manager serves, or ctx is done. Upstream starts its signers after some
// sixty other controllers, and the nodes of a new cluster wait for them with nothing to do. These are the same signers, with the same
// settings; of two that sign one request the second finds it signed. What users have signed by an authority of their own is left alone.
func (c *controllers) signEarly(ctx context.Context, o *config.Config, serving <-chan struct{}) error {
	s := o.ComponentConfig.CSRSigningController
	ofClients, ofServers := s.KubeletClientSignerConfiguration, s.KubeletServingSignerConfiguration
	others := s.KubeAPIServerClientSignerConfiguration.CertFile + s.LegacyUnknownSignerConfiguration.CertFile
	if s.ClusterSigningCertFile == "" || s.ClusterSigningKeyFile == "" || ofClients.CertFile+ofServers.CertFile+others != "" {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactory(c.client, 0)
	var running sync.WaitGroup
	defer func() { cancel(); running.Wait(); factory.Shutdown() }()
	requests := factory.Certificates().V1().CertificateSigningRequests()
	made := []*signer.CSRSigningController{}
	for _, make := range []makeSigner{signer.NewKubeletClientCSRSigningController, signer.NewKubeletServingCSRSigningController} {
		one, err := make(ctx, c.client, requests, s.ClusterSigningCertFile, s.ClusterSigningKeyFile, s.ClusterSigningDuration.Duration)
		if err != nil {
			return fmt.Errorf("make signer of kubelets' certificates: %w", err)
		}
		made = append(made, one)
	}
	factory.StartWithContext(ctx)
	for _, one := range made {
		running.Go(func() { one.Run(ctx, 1) })
	}
	select {
	case <-serving: // upstream's have begun by then, and sign what is left
	case <-ctx.Done():
	}
	return nil
}

// makeSigner is upstream's constructor of a signer.
type makeSigner func(context.Context, kubernetes.Interface, certificates.CertificateSigningRequestInformer, string, string, time.Duration) (*signer.CSRSigningController, error)
