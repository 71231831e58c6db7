// Package await holds the waits that components of the control plane share: for an answer of the API server, for a node,
// for an operation that succeeds once something else has happened.
//
// Every wait ends with its context and says then why it was still waiting.
package await

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

const (
	answerInterval = 10 * time.Millisecond
	answerTimeout  = 5 * time.Second // of one request
)

// Success calls try, at once and then every interval, until it returns nil. When ctx ends it returns ctx's error joined
// with the last one of try.
func Success(ctx context.Context, interval time.Duration, try func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		err := try(ctx)
		if err == nil || ctx.Err() == nil || last == nil { // an attempt that ctx cut short says nothing new
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// Answer returns when the server that config reaches answers a GET of path, such as "/readyz" or
// "/api/v1/nodes?limit=1". Use it before informers start: one that is refused backs off for a second, and new rights take a
// moment to be known.
func Answer(ctx context.Context, config *rest.Config, path string) error {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = -1, 0 // a limit meant for a shared server would slow the poll
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return Success(ctx, answerInterval, func(ctx context.Context) error {
		return client.CoreV1().RESTClient().Get().RequestURI(path).Timeout(answerTimeout).Do(ctx).Error()
	})
}

// AnswerWithin is Answer with a limit.
func AnswerWithin(ctx context.Context, limit time.Duration, config *rest.Config, path string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return Answer(ctx, config, path)
}

// Node returns when a Node that selector matches and fulfils accepts exists. A nil fulfils accepts every node.
func Node(ctx context.Context, client kubernetes.Interface, selector string, fulfils func(*corev1.Node) bool) error {
	nodes := client.CoreV1().Nodes()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			return nodes.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return nodes.Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, cache.ToListWatcherWithWatchListSemantics(lw, client), &corev1.Node{}, nil,
		func(e watch.Event) (bool, error) {
			n, ok := e.Object.(*corev1.Node)
			return ok && e.Type != watch.Deleted && (fulfils == nil || fulfils(n)), nil
		})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for a node with %s: %w", selector, err)
	}
	return nil
}

// Ready reports whether a node's kubelet says that it is ready.
func Ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
