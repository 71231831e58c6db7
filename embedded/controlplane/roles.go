package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/klkube/kl/embedded/lifecycle"
)

// roles creates the objects that the API server itself puts into a new cluster: its RBAC policy and priority classes.
// Upstream does so in two hooks that begin by sleeping a second for etcd's sake (wait.Poll in
// pkg/registry/{rbac,scheduling}/rest), then write one object after the other, and until then /healthz fails and no
// component may do anything. Here the objects are written at once and side by side; the hooks, which also reconcile and
// upgrade, run afterwards and hold nothing up.
type roles struct {
	client kubernetes.Interface
	admin  *rest.Config
	logger *slog.Logger
}

var _ lifecycle.Component = (*roles)(nil)

// rolesParallel is how many objects are written at once: etcd syncs them to disk together.
const rolesParallel = 8

func (r *roles) Name() string { return nameRoles }

// Run is ready when the policy exists.
func (r *roles) Run(ctx context.Context, ready func()) error {
	have, err := r.client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("list cluster roles: %w", err)
	}
	if len(have.Items) == 0 { // else the cluster is not new, and what is missing is for the hooks to judge
		began := time.Now()
		if err := create(ctx, r.client); err != nil {
			return err
		}
		r.logger.InfoContext(ctx, "created the API server's policy", "took", time.Since(began))
	}
	ready()
	if err := r.reconcile(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// reconcile runs the hooks.
func (r *roles) reconcile(ctx context.Context) error {
	hookContext := genericapiserver.PostStartHookContext{LoopbackClientConfig: r.admin, Context: ctx}
	for _, p := range []genericapiserver.PostStartHookProvider{rbacrest.RESTStorageProvider{}, schedulingrest.RESTStorageProvider{}} {
		name, hook, err := p.PostStartHook()
		if err != nil {
			return fmt.Errorf("make hook %s: %w", name, err)
		}
		if err := hook(hookContext); err != nil {
			return fmt.Errorf("run hook %s: %w", name, err)
		}
	}
	return nil
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
