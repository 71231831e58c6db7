package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/lifecycle"
)

// roles sees to the RBAC policy and priority classes. Upstream's API server creates them in two hooks that sleep for a second
// (wait.Poll in pkg/registry/{rbac,scheduling}/rest) and then write one object after the other; until then /healthz fails and no
// component is authorized. A new cluster has the same objects from seed or, where that does not write them, from roles, at once
// and in parallel. In a cluster that has them roles reconciles them with upstream's library while other components start.
type roles struct {
	client kubernetes.Interface
	seeded *atomic.Bool // etcd was empty, and has the policy of this version now
	logger *slog.Logger
	report func(error) // nil without a supervisor
}

var (
	_ lifecycle.Component = (*roles)(nil)
	_ lifecycle.Reporter  = (*roles)(nil)
)

// rolesParallel is how many objects are written in parallel: etcd syncs them to disk together.
const rolesParallel = 8

func (r *roles) Name() cluster.ComponentName { return Roles }

func (r *roles) Report(report func(error)) { r.report = report }

// rolesRetry is the pause between attempts to reconcile.
const rolesRetry = 5 * time.Second

// Run is ready when the policy exists. What a user put into the API, such as a webhook that does not answer, can refuse to
// have it reconciled; Run reports that and tries again, because the policy that exists serves as well.
func (r *roles) Run(ctx context.Context, ready func()) error {
	if r.seeded.Load() {
		if err := r.awaitAuthorizer(ctx); err != nil {
			return err
		}
		ready()
		<-ctx.Done()
		return ctx.Err()
	}
	have, err := r.client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("list cluster roles: %w", err)
	}
	if len(have.Items) == 0 {
		began := time.Now()
		if err := create(ctx, r.client); err != nil {
			return err
		}
		ready()
		r.logger.InfoContext(ctx, "created the API server's policy", "took", time.Since(began))
	} else {
		ready() // the policy of an older version is enough to start with
		err := await.Success(ctx, rolesRetry, func(ctx context.Context) error {
			err := r.reconcile(ctx)
			r.setError(ctx, err)
			return err
		})
		if err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// awaitAuthorizer returns when the API server's authorizer has read the policy that was there before it started: a component that is
// refused in that moment backs off for a second.
func (r *roles) awaitAuthorizer(ctx context.Context) error {
	for _, a := range []authorizationv1.ResourceAttributes{
		{Verb: "list", Resource: "nodes"}, // by a ClusterRole
		{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "kube-scheduler", Namespace: metav1.NamespaceSystem}, // by a Role
	} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user.KubeScheduler, ResourceAttributes: &a}}
		err := await.Success(ctx, authorizerInterval, func(ctx context.Context) error {
			answer, err := r.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err == nil && !answer.Status.Allowed {
				err = fmt.Errorf("%s may not %s %s yet", review.Spec.User, a.Verb, a.Resource)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("wait for the authorizer: %w", err)
		}
	}
	return nil
}

// authorizerInterval is the pause between looks at the authorizer.
const authorizerInterval = 5 * time.Millisecond

func (r *roles) setError(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		r.logger.WarnContext(ctx, "reconcile policy", "error", err, "retry", rolesRetry)
	}
	if r.report != nil && ctx.Err() == nil {
		r.report(err)
	}
}

// reconcile does what the hook does in an existing cluster: it adds policy that is missing, keeps additions of users, and
// leaves objects annotated rbac.authorization.kubernetes.io/autoupdate=false alone.
func (r *roles) reconcile(ctx context.Context) error {
	rbac, spaces := r.client.RbacV1(), r.client.CoreV1().Namespaces()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(rolesParallel)
	role := func(owner reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier) {
		g.Go(func() error {
			o := reconciliation.ReconcileRoleOptions{Role: owner, Client: client, Confirm: true}
			return unlessDone(ctx, func() error { _, err := o.Run(); return err })
		})
	}
	binding := func(b reconciliation.RoleBinding, client reconciliation.RoleBindingModifier) {
		g.Go(func() error {
			o := reconciliation.ReconcileRoleBindingOptions{RoleBinding: b, Client: client, Confirm: true}
			return unlessDone(ctx, func() error { _, err := o.Run(); return err })
		})
	}
	for _, o := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		role(reconciliation.ClusterRoleRuleOwner{ClusterRole: &o}, reconciliation.ClusterRoleModifier{Client: rbac.ClusterRoles()})
	}
	for _, o := range clusterRoleBindings() {
		binding(reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &o},
			reconciliation.ClusterRoleBindingClientAdapter{Client: rbac.ClusterRoleBindings()})
	}
	for _, list := range bootstrappolicy.NamespaceRoles() {
		for _, o := range list {
			role(reconciliation.RoleRuleOwner{Role: &o}, reconciliation.RoleModifier{Client: rbac, NamespaceClient: spaces})
		}
	}
	for _, list := range bootstrappolicy.NamespaceRoleBindings() {
		for _, o := range list {
			binding(reconciliation.RoleBindingAdapter{RoleBinding: &o},
				reconciliation.RoleBindingClientAdapter{Client: rbac, NamespaceClient: spaces})
		}
	}
	createPriorities(ctx, g, r.client)
	if err := g.Wait(); err != nil {
		return fmt.Errorf("reconcile policy: %w", err)
	}
	return nil
}

// clusterRoleBindings are upstream's, and the one that makes the user's certificate an administrator's.
func clusterRoleBindings() []rbacv1.ClusterRoleBinding {
	admins := rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: cluster.AdminGroup},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: cluster.AdminGroup}},
	}
	return append(append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...), admins)
}

// createPriorities creates the priority classes that are missing. It looks first: admission would see even a Create that
// finds the object.
func createPriorities(ctx context.Context, g *errgroup.Group, client kubernetes.Interface) {
	classes := client.SchedulingV1().PriorityClasses()
	for _, o := range schedulingv1.SystemPriorityClasses() {
		g.Go(func() error {
			if _, err := classes.Get(ctx, o.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return err
			}
			return ignoreExisting(classes.Create(ctx, o, metav1.CreateOptions{}))
		})
	}
}

// unlessDone calls f, which takes no context, unless ctx is done.
func unlessDone(ctx context.Context, f func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return f()
}

// create writes the policy of a new cluster.
func create(ctx context.Context, client kubernetes.Interface) error {
	rbac := client.RbacV1()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(rolesParallel)
	createPriorities(ctx, g, client)
	for _, o := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		g.Go(func() error { return ignoreExisting(rbac.ClusterRoles().Create(ctx, &o, metav1.CreateOptions{})) })
	}
	for _, o := range clusterRoleBindings() {
		g.Go(func() error {
			return ignoreExisting(rbac.ClusterRoleBindings().Create(ctx, &o, metav1.CreateOptions{}))
		})
	}
	for namespace, list := range bootstrappolicy.NamespaceRoles() {
		for _, o := range list {
			g.Go(func() error {
				return inNamespace(ctx, func() error { return ignoreExisting(rbac.Roles(namespace).Create(ctx, &o, metav1.CreateOptions{})) })
			})
		}
	}
	for namespace, list := range bootstrappolicy.NamespaceRoleBindings() {
		for _, o := range list {
			g.Go(func() error {
				return inNamespace(ctx, func() error {
					return ignoreExisting(rbac.RoleBindings(namespace).Create(ctx, &o, metav1.CreateOptions{}))
				})
			})
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("create policy: %w", err)
	}
	return nil
}

// ignoreExisting returns the error of a Create, nil if the object exists already.
func ignoreExisting[T any](_ T, err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// inNamespace retries f until it succeeds: the API server creates the namespace at the same time.
func inNamespace(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, namespaceTimeout)
	defer cancel()
	return await.Success(ctx, 10*time.Millisecond, func(context.Context) error { return f() })
}

const namespaceTimeout = 15 * time.Second
