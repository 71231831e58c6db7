package observe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Target is a cluster that can be observed: a kl cluster, or a context of a kubeconfig.
type Target struct {
	Name       string          // of the kl cluster or the context
	Context    string          // of the kubeconfig; empty for a kl cluster
	Kubeconfig string          // file; empty means the usual ones ($KUBECONFIG, ~/.kube/config)
	Layout     *cluster.Layout // of a kl cluster
	Contexts   []string        // of the kubeconfig that lead to a kl cluster as its administrator
	Current    bool            // the kubeconfig's current context leads there
}

// HasContext reports whether a context of the kubeconfig leads to the target.
func (t Target) HasContext(name string) bool {
	return name != "" && (t.Context == name || slices.Contains(t.Contexts, name))
}

// access is how a context reaches a server: two contexts with the same access see the same.
type access struct{ server, certificate, token string }

func accessOf(c *api.Config, context *api.Context) (access, bool) {
	s := c.Clusters[context.Cluster]
	if s == nil {
		return access{}, false
	}
	a := access{server: s.Server}
	if u := c.AuthInfos[context.AuthInfo]; u != nil {
		a.certificate, a.token = string(u.ClientCertificateData), u.Token
	}
	return a, true
}

// Targets returns the kl clusters below home, and then the contexts of a kubeconfig (the usual files if it is empty) but those
// that lead to one of these as its administrator. Files that cannot be read are left out, except a kubeconfig that was named.
func Targets(home cluster.Home, kubeconfig string) ([]Target, error) {
	var out []Target
	own := map[access]int{} // index in out
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
		for _, context := range c.Contexts {
			if a, ok := accessOf(c, context); ok {
				own[a] = len(out)
			}
		}
		out = append(out, Target{Name: e.Name(), Kubeconfig: l.Kubeconfig(), Layout: &l})
	}
	config, err := loadingRules(kubeconfig).Load()
	if err != nil {
		if kubeconfig != "" {
			return nil, fmt.Errorf("read kubeconfig: %w", statefile.Plain(err))
		}
		config = api.NewConfig()
	}
	var contexts []Target
	for name, c := range config.Contexts {
		a, ok := accessOf(config, c)
		if !ok {
			continue
		}
		current := name == config.CurrentContext
		if i, ours := own[a]; ours {
			out[i].Contexts = append(out[i].Contexts, name)
			out[i].Current = out[i].Current || current
			continue
		}
		contexts = append(contexts, Target{Name: name, Context: name, Kubeconfig: kubeconfig, Current: current})
	}
	slices.SortFunc(contexts, func(a, b Target) int { return strings.Compare(a.Name, b.Name) })
	return append(out, contexts...), nil
}

func loadingRules(kubeconfig string) *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if kubeconfig != "" {
		rules.ExplicitPath = kubeconfig
	}
	return rules
}

// Namespace is the namespace of the target's context, "default" if it has none.
func (t Target) Namespace() string {
	name, _, err := t.config().Namespace()
	if err != nil {
		return metav1.NamespaceDefault
	}
	return name
}

func (t Target) config() clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loadingRules(t.Kubeconfig), &clientcmd.ConfigOverrides{CurrentContext: t.Context})
}

// REST returns the client configuration of the target. It does not connect.
func (t Target) REST() (*rest.Config, error) {
	rc, err := t.config().ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig of %s: %w", t.Name, err)
	}
	return rc, nil
}
