package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/embedded/controlplane/manifests"
)

const (
	apiService      = "v1beta1.metrics.k8s.io"
	announceTimeout = 15 * time.Second
	withdrawTimeout = 2 * time.Second
)

// announcer creates and deletes the objects by which the API server finds metrics-server.
type announcer struct {
	client dynamic.Interface
}

func newAnnouncer(admin *rest.Config) (*announcer, error) {
	client, err := manifests.Client(admin)
	if err != nil {
		return nil, err
	}
	return &announcer{client: client}, nil
}

// announced reports whether the APIService exists: a process that was killed leaves it.
func (a *announcer) announced(ctx context.Context) (bool, error) {
	resource := schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	_, err := a.client.Resource(resource).Get(ctx, apiService, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read APIService: %w", err)
	}
	return true, nil
}

// foreign returns an error if metrics are somebody else's: one of the objects that would announce this server was made by a
// user, who has installed a metrics-server. Then none of them is touched.
func (a *announcer) foreign(ctx context.Context) error {
	all, err := manifests.MetricsServer{}.Objects()
	if err != nil {
		return err
	}
	for _, o := range all[manifests.MetricsServer{}.Rights():] {
		own, err := manifests.Own(ctx, a.client, o)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", o.GetKind(), o.GetName(), err)
		}
		if !own {
			return fmt.Errorf("metrics are not served: %s %s: %w", o.GetKind(), o.GetName(), manifests.ErrForeign)
		}
	}
	return nil
}

// grant creates the rights of the server's user.
func (a *announcer) grant(ctx context.Context, m manifests.MetricsServer) error {
	all, err := m.Objects()
	if err != nil {
		return err
	}
	if err := manifests.ApplyWithin(ctx, announceTimeout, a.client, all[:m.Rights()], manifests.Force); err != nil {
		return manifests.Summary(err)
	}
	return nil
}

// announce creates the Service, its endpoint and the APIService.
func (a *announcer) announce(ctx context.Context, m manifests.MetricsServer) error {
	all, err := m.Objects()
	if err != nil {
		return err
	}
	if err := manifests.ApplyWithin(ctx, announceTimeout, a.client, all[m.Rights():], manifests.Force); err != nil {
		return manifests.Summary(err)
	}
	return nil
}

// withdraw deletes what announce created, the APIService first, unless a user has put something else in its place. It logs errors: it is called when the server stops.
func (a *announcer) withdraw(ctx context.Context, m manifests.MetricsServer, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, withdrawTimeout)
	defer cancel()
	all, err := m.Objects()
	if err != nil {
		log.WarnContext(ctx, "withdraw metrics", "error", err)
		return
	}
	for i := len(all) - 1; i >= m.Rights(); i-- {
		resource, _ := meta.UnsafeGuessKindToResource(all[i].GroupVersionKind())
		own, err := manifests.Own(ctx, a.client, all[i])
		if err == nil && !own {
			continue
		}
		err = a.client.Resource(resource).Namespace(all[i].GetNamespace()).Delete(ctx, all[i].GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			log.WarnContext(ctx, "delete object", "kind", all[i].GetKind(), "name", all[i].GetName(), "error", err)
		}
	}
}
