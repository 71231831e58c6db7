// Package await holds the waits that components of the control plane share: for an answer of the API server, and for an
// operation that succeeds once something else has happened. Those for a node are in package nodewatch.
//
// Every wait ends with its context and says then why it was still waiting.
package await

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
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

// Ready reports whether a node's kubelet says that it is ready.
func Ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
