package tour

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// Needs is what a scenario needs of a cluster.
type Needs struct {
	// Kl is a cluster of this kl, for scenarios that use its commands.
	Kl bool `yaml:"kl"`
	// Nodes is a number of nodes that are ready and take pods.
	Nodes int `yaml:"nodes"`
	// Kubernetes is the oldest version that has what is shown, such as 1.36.
	Kubernetes string `yaml:"kubernetes"`
	// APIs are group versions, such as metrics.k8s.io/v1beta1.
	APIs []string `yaml:"apis"`
	// StorageClasses are names of StorageClasses.
	StorageClasses []string `yaml:"storageClasses"`
	// LoadBalancer is a cloud provider that gives Services an address.
	LoadBalancer bool `yaml:"loadBalancer"`
	// Policies is enforcement of NetworkPolicies.
	Policies bool `yaml:"policies"`
}

// facts is what a cluster has.
type facts struct {
	version *version.Version
	nodes   int
	apis    []string
	classes []string
}

// oldest is the version of Kubernetes that is needed; nil for any.
func (n Needs) oldest() *version.Version {
	if n.Kubernetes == "" {
		return nil
	}
	return version.MustParseGeneric(n.Kubernetes) // check has parsed it before
}

// missing says what a scenario needs and the cluster does not have; empty if nothing.
func (n Needs) missing(t Target, f facts) string {
	var lacks []string
	if n.Kl && !t.isKl() {
		lacks = append(lacks, "a cluster of kl")
	}
	if f.nodes < max(n.Nodes, 1) {
		lacks = append(lacks, fmt.Sprintf("%d ready nodes (the cluster has %d)", max(n.Nodes, 1), f.nodes))
	}
	if oldest := n.oldest(); oldest != nil && !f.version.AtLeast(oldest) {
		lacks = append(lacks, fmt.Sprintf("Kubernetes %s (the cluster has %s)", n.Kubernetes, f.version))
	}
	for _, api := range n.APIs {
		if !slices.Contains(f.apis, api) {
			lacks = append(lacks, "the API "+api)
		}
	}
	for _, class := range n.StorageClasses {
		if !slices.Contains(f.classes, class) {
			lacks = append(lacks, "the StorageClass "+class)
		}
	}
	if n.LoadBalancer && t.isKl() && !t.LoadBalancers {
		lacks = append(lacks, "load balancers, which are off in this cluster")
	}
	if n.Policies && t.isKl() && !t.Policies {
		lacks = append(lacks, "enforcement of NetworkPolicies, which is off in this cluster")
	}
	if !t.isKl() && t.Programs.Image == "" {
		lacks = append(lacks, "an image with kl's programs, given with --image: see 'kl tour image'")
	}
	return strings.Join(lacks, ", ")
}

// look asks the cluster what it has.
func (r *Runner) look(ctx context.Context) (facts, error) {
	var f facts
	ask := func(v any, args ...string) error {
		out, err := r.kubectl(ctx, args...)
		if err != nil {
			return fmt.Errorf("ask the cluster: kubectl %s: %w: %s", strings.Join(args, " "), err, ending(strings.TrimSpace(out)))
		}
		return json.Unmarshal([]byte(out), v)
	}
	var server struct{ GitVersion string }
	if err := ask(&server, "get", "--raw", "/version"); err != nil {
		return f, err
	}
	var err error
	if f.version, err = version.ParseGeneric(server.GitVersion); err != nil {
		return f, fmt.Errorf("ask the cluster: version of the API server: %w", err)
	}
	var nodes struct {
		Items []struct {
			Spec struct {
				Unschedulable bool
				Taints        []struct{ Effect string }
			}
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := ask(&nodes, "get", "nodes", "-o", "json"); err != nil {
		return f, err
	}
	for _, n := range nodes.Items {
		ready := slices.Contains(n.Status.Conditions, struct{ Type, Status string }{"Ready", "True"})
		if ready && !n.Spec.Unschedulable && len(n.Spec.Taints) == 0 {
			f.nodes++
		}
	}
	var groups struct {
		Groups []struct {
			Versions []struct{ GroupVersion string }
		}
	}
	if err := ask(&groups, "get", "--raw", "/apis"); err != nil {
		return f, err
	}
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			f.apis = append(f.apis, v.GroupVersion)
		}
	}
	var classes struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := ask(&classes, "get", "storageclasses", "-o", "json"); err != nil {
		return f, err
	}
	for _, c := range classes.Items {
		f.classes = append(f.classes, c.Metadata.Name)
	}
	return f, nil
}
