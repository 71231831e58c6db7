package approver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"time"

	certsv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/klkube/kl/cluster"
)

// Name is the component's name.
const Name cluster.ComponentName = "approver"

// nodeTimeout is how long a request may wait for the node's address. A kubelet may ask before kl has written it down.
const nodeTimeout = time.Minute

// Approver watches requests of the signer kubernetes.io/kubelet-serving, and of nodes that join, and approves or denies each.
type Approver struct {
	Client kubernetes.Interface
	// Address returns the address that the driver assigned to a node; the error wraps fs.ErrNotExist if there is no such node.
	Address func(node string) (netip.Addr, error)
	Logger  *slog.Logger // slog.Default() if nil
}

// Name implements lifecycle.Component.
func (a *Approver) Name() cluster.ComponentName { return Name }

// Run implements lifecycle.Component. It is ready once it has listed the existing requests.
func (a *Approver) Run(ctx context.Context, ready func()) error {
	if a.Logger == nil {
		a.Logger = slog.Default()
	}
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](20*time.Millisecond, time.Second))
	requests := a.Client.CertificatesV1().CertificateSigningRequests()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return requests.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return requests.Watch(ctx, o)
		},
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(lw, a.Client), ObjectType: &certsv1.CertificateSigningRequest{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { queue.Add(o.(*certsv1.CertificateSigningRequest).Name) },
			UpdateFunc: func(_, o any) { queue.Add(o.(*certsv1.CertificateSigningRequest).Name) },
		},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	defer func() { <-done }()
	defer queue.ShutDown()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	ready()
	// One worker is enough for the few requests, and keeps those of a node in order.
	stop := context.AfterFunc(ctx, queue.ShutDown)
	defer stop()
	for {
		name, closed := queue.Get()
		if closed {
			return ctx.Err()
		}
		retry := false
		if item, ok, err := store.GetByKey(name); err != nil {
			a.Logger.WarnContext(ctx, "read request from the cache", "csr", name, "error", err)
		} else if ok {
			retry = a.handle(ctx, item.(*certsv1.CertificateSigningRequest))
		}
		if retry && ctx.Err() == nil {
			queue.AddRateLimited(name)
		} else {
			queue.Forget(name)
		}
		queue.Done(name)
	}
}

// handle reviews one request and reports whether to do so again later.
func (a *Approver) handle(ctx context.Context, csr *certsv1.CertificateSigningRequest) (retry bool) {
	joins := csr.Spec.SignerName == certsv1.KubeAPIServerClientKubeletSignerName && Joins(csr) != ""
	if decided(csr) || !joins && csr.Spec.SignerName != certsv1.KubeletServingSignerName {
		return false
	}
	logger := a.Logger.With("csr", csr.Name, "requester", csr.Spec.Username)
	verdict, reason, err := a.review(ctx, csr)
	if err != nil {
		logger.WarnContext(ctx, "review request", "error", err)
		return true
	}
	if verdict == Wait {
		if time.Since(csr.CreationTimestamp.Time) < nodeTimeout {
			return true
		}
		verdict = Deny
	}
	if err := a.decide(ctx, csr, verdict, reason); err != nil {
		if apierrors.IsNotFound(err) {
			return false
		}
		logger.WarnContext(ctx, "decide request", "error", err)
		return true
	}
	if verdict == Deny {
		logger.WarnContext(ctx, "certificate denied", "signer", csr.Spec.SignerName, "reason", reason)
	} else {
		logger.InfoContext(ctx, "certificate approved", "signer", csr.Spec.SignerName)
	}
	return false
}

// review applies the rules to what is known of the request's node and token.
func (a *Approver) review(ctx context.Context, csr *certsv1.CertificateSigningRequest) (Verdict, string, error) {
	if csr.Spec.SignerName == certsv1.KubeAPIServerClientKubeletSignerName {
		verdict, reason := ReviewJoin(csr)
		if verdict != Approve {
			return verdict, reason, nil
		}
		err := a.use(ctx, csr)
		if errors.Is(err, errTokenGone) || errors.Is(err, errTokenUsed) {
			return Deny, err.Error(), nil
		}
		return verdict, reason, err
	}
	address, err := netip.Addr{}, error(nil)
	if node := NodeName(csr); node != "" {
		address, err = a.Address(node)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Deny, "", fmt.Errorf("read the node's address: %w", err)
	}
	verdict, reason := Review(csr, address)
	return verdict, reason, nil
}

func (a *Approver) decide(ctx context.Context, csr *certsv1.CertificateSigningRequest, v Verdict, reason string) error {
	csr = csr.DeepCopy() // the store's is shared
	condition := certsv1.CertificateSigningRequestCondition{
		Type: certsv1.CertificateApproved, Status: corev1.ConditionTrue,
		Reason: "KlNode", Message: reason, LastUpdateTime: metav1.Now(),
	}
	if v == Deny {
		condition.Type = certsv1.CertificateDenied
	}
	csr.Status.Conditions = append(csr.Status.Conditions, condition)
	_, err := a.Client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
	return err
}

func decided(csr *certsv1.CertificateSigningRequest) bool {
	for _, c := range csr.Status.Conditions {
		if c.Type == certsv1.CertificateApproved || c.Type == certsv1.CertificateDenied {
			return true
		}
	}
	return len(csr.Status.Certificate) > 0
}
