package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// roles creates the objects that the API server itself puts into a new cluster: its RBAC policy and priority classes.
// Upstream does so in two hooks that begin by sleeping a second for etcd's sake (wait.Poll in
// pkg/registry/{rbac,scheduling}/rest), then write one object after the other, and until then /healthz fails and no
// component may do anything. Here the same objects are written at once and side by side, or, in a cluster that has them,
// reconciled with the same library while everything else goes on.
type roles struct {
	client kubernetes.Interface
	logger *slog.Logger
}

var _ lifecycle.Component = (*roles)(nil)

// rolesParallel is how many objects are written at once: etcd syncs them to disk together.
const rolesParallel = 8

func (r *roles) Name() cluster.ComponentName { return Roles }

// Run is ready when the policy exists.
func (r *roles) Run(ctx context.Context, ready func()) error {
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
		ready() // what is missing, an upgrade brings in a moment
		if err := r.reconcile(ctx); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// reconcile does to an existing cluster what the hook does: policy that is missing or has grown since is written, what
// was added to it stays, and objects annotated rbac.authorization.kubernetes.io/autoupdate=false are left alone.
func (r *roles) reconcile(ctx context.Context) error {
	rbac := r.client.RbacV1()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(rolesParallel)
	role := func(owner reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier) {
		g.Go(func() error {
			o := reconciliation.ReconcileRoleOptions{Role: owner, Client: client, Confirm: true}
			return during(ctx, func() error { _, err := o.Run(); return err })
		})
	}
	binding := func(b reconciliation.RoleBinding, client reconciliation.RoleBindingModifier) {
		g.Go(func() error {
			o := reconciliation.ReconcileRoleBindingOptions{RoleBinding: b, Client: client, Confirm: true}
			return during(ctx, func() error { _, err := o.Run(); return err })
		})
	}
	for _, o := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		role(reconciliation.ClusterRoleRuleOwner{ClusterRole: &o}, reconciliation.ClusterRoleModifier{Client: rbac.ClusterRoles()})
	}
	for _, o := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		binding(reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &o},
			reconciliation.ClusterRoleBindingClientAdapter{Client: rbac.ClusterRoleBindings()})
	}
	priorities(ctx, g, r.client)
	spaces := r.client.CoreV1().Namespaces()
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
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("reconcile policy: %w", err)
	}
	return nil
}

// priorities creates the priority classes that are missing.
func priorities(ctx context.Context, g *errgroup.Group, client kubernetes.Interface) {
	for _, o := range schedulingv1.SystemPriorityClasses() {
		g.Go(func() error {
			return made(client.SchedulingV1().PriorityClasses().Create(ctx, o, metav1.CreateOptions{}))
		})
	}
}

// during calls f, which takes no context, unless ctx is done.
func during(ctx context.Context, f func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return f()
}

func create(ctx context.Context, client kubernetes.Interface) error {
	rbac := client.RbacV1()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(rolesParallel)
	for _, o := range schedulingv1.SystemPriorityClasses() {
		g.Go(func() error {
			return made(client.SchedulingV1().PriorityClasses().Create(ctx, o, metav1.CreateOptions{}))
		})
	}
	for _, o := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		g.Go(func() error { return made(rbac.ClusterRoles().Create(ctx, &o, metav1.CreateOptions{})) })
	}
	for _, o := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		g.Go(func() error { return made(rbac.ClusterRoleBindings().Create(ctx, &o, metav1.CreateOptions{})) })
	}
	for namespace, list := range bootstrappolicy.NamespaceRoles() {
		for _, o := range list {
			g.Go(func() error {
				return inNamespace(ctx, func() error { return made(rbac.Roles(namespace).Create(ctx, &o, metav1.CreateOptions{})) })
			})
		}
	}
	for namespace, list := range bootstrappolicy.NamespaceRoleBindings() {
		for _, o := range list {
			g.Go(func() error {
				return inNamespace(ctx, func() error { return made(rbac.RoleBindings(namespace).Create(ctx, &o, metav1.CreateOptions{})) })
			})
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("create policy: %w", err)
	}
	return nil
}

// made is the error of a Create that does not mind the object being there.
func made[T any](_ T, err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// inNamespace tries again: the API server makes the namespace at the same time.
func inNamespace(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return poll(ctx, 10*time.Millisecond, func(context.Context) error { return f() })
}
