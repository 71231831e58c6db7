package observe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/klkube/kl/cluster"
)

// Target is a cluster that can be observed: a kl cluster, or a context of a kubeconfig.
type Target struct {
	Name       string          // of the kl cluster or the context
	Context    string          // of the kubeconfig; empty for a kl cluster
	Kubeconfig string          // file; empty means the usual ones ($KUBECONFIG, ~/.kube/config)
	Layout     *cluster.Layout // of a kl cluster
	Current    bool            // the kubeconfig's current context, or the only kl cluster
}

// Targets returns the kl clusters below home, and then the contexts of a kubeconfig (the usual files if it is empty) that do not
// lead to one of these. Files that cannot be read are left out, except a kubeconfig that was named.
func Targets(home cluster.Home, kubeconfig string) ([]Target, error) {
	var out []Target
	servers := map[string]bool{}
	entries, err := os.ReadDir(home.ClustersDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	for _, e := range entries {
		l := home.Cluster(e.Name())
		c, err := clientcmd.LoadFromFile(l.Kubeconfig())
		if err != nil {
			continue // `kl up` has not finished
		}
		for _, s := range c.Clusters {
			servers[s.Server] = true
		}
		out = append(out, Target{Name: e.Name(), Kubeconfig: l.Kubeconfig(), Layout: &l})
	}
	config, err := loadingRules(kubeconfig).Load()
	if err != nil {
		if kubeconfig != "" {
			return nil, fmt.Errorf("read kubeconfig: %w", err)
		}
		config = api.NewConfig()
	}
	var contexts []Target
	for name, c := range config.Contexts {
		if s := config.Clusters[c.Cluster]; s == nil || servers[s.Server] {
			continue
		}
		contexts = append(contexts, Target{Name: name, Context: name, Kubeconfig: kubeconfig, Current: name == config.CurrentContext})
	}
	slices.SortFunc(contexts, func(a, b Target) int { return strings.Compare(a.Name, b.Name) })
	if len(out) == 1 {
		out[0].Current = true
	}
	return append(out, contexts...), nil
}

func loadingRules(kubeconfig string) *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if kubeconfig != "" {
		rules.ExplicitPath = kubeconfig
	}
	return rules
}

// REST returns the client configuration of the target. It does not connect.
func (t Target) REST() (*rest.Config, error) {
	rules := loadingRules(t.Kubeconfig)
	rc, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: t.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig of %s: %w", t.Name, err)
	}
	return rc, nil
}
