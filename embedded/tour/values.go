package tour

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Size is a flag that is a number of bytes, written as in a pod: 64Mi.
type Size int64

var _ pflag.Value = (*Size)(nil)

func (s Size) String() string { return resource.NewQuantity(int64(s), resource.BinarySI).String() }

// Type is what the help calls the value.
func (s Size) Type() string { return "size" }

// Set reads a quantity. It must be whole bytes, and at least one.
func (s *Size) Set(text string) error {
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("%q is not a size such as 64Mi", text)
	}
	n, whole := q.AsInt64()
	if !whole || n < 1 {
		return fmt.Errorf("%s is not a number of bytes from 1 on, such as 64Mi", text)
	}
	*s = Size(n)
	return nil
}

// ClientConfig says how to reach the API server: from a kubeconfig, or as the pod's ServiceAccount if kubeconfig is empty.
func ClientConfig(kubeconfig string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	return config, nil
}

// Limit returns a context that ends after d, the value of the flag --for, where 0 means never.
func Limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc, error) {
	switch {
	case d < 0:
		return nil, nil, Usagef("--for is %s: want a time that is not negative", d)
	case d == 0:
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, cancel, nil
}
