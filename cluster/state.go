package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster/statefile"

	"sigs.k8s.io/yaml"
)

// Default fills in the fields that are zero, except for the API server's port, which the first up chooses.
func (s Spec) Default() Spec {
	d := DefaultSpec()
	s.APIVersion, s.Kind = cmp.Or(s.APIVersion, d.APIVersion), cmp.Or(s.Kind, d.Kind)
	s.Name, s.Driver = cmp.Or(s.Name, d.Name), cmp.Or(s.Driver, d.Driver)
	if s.Nodes == nil {
		s.Nodes = d.Nodes
	}
	n, dn := &s.Networking, d.Networking
	n.PodCIDR, n.ServiceCIDR = cmp.Or(n.PodCIDR, dn.PodCIDR), cmp.Or(n.ServiceCIDR, dn.ServiceCIDR)
	n.Gateway, n.DNS, n.CNI = cmp.Or(n.Gateway, dn.Gateway), cmp.Or(n.DNS, dn.DNS), cmp.Or(n.CNI, dn.CNI)
	return s
}

// CheckName reports what is wrong with a cluster's name: it becomes part of host names, file names and labels.
func CheckName(name string) error {
	valid := len(name) > 0 && len(name) <= 32 && name[0] != '-' && name[len(name)-1] != '-' &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	if !valid {
		return &Error{
			Op: "use name " + fmt.Sprintf("%q", name), Err: errors.New("not a valid cluster name"),
			Hint: "use at most 32 of a-z, 0-9 and -, beginning and ending with a letter or digit",
		}
	}
	return nil
}

// ReadSpec reads cluster.yaml. The error is fs.ErrNotExist if there is no such cluster, or no such file in its directory, and
// names the file unless there is no cluster.
func ReadSpec(l Layout) (Spec, error) {
	var s Spec
	data, err := statefile.Read(l.SpecFile())
	if _, noDir := os.Stat(l.Dir()); errors.Is(err, fs.ErrNotExist) && noDir != nil {
		return s, &Error{
			Op: "find cluster " + l.Name, Err: fs.ErrNotExist,
			Hint: fmt.Sprintf("'kl list' shows the clusters there are; 'kl up --name %s' makes it", l.Name),
		}
	}
	if err != nil {
		return s, Damaged(l, l.SpecFile(), err)
	}
	if err := yaml.UnmarshalStrict(data, &s); err != nil {
		return s, Damaged(l, l.SpecFile(), statefile.Plain(err))
	}
	switch {
	case s.APIVersion != APIVersion || s.Kind != Kind:
		err = fmt.Errorf("apiVersion and kind are %q and %q, not %q and %q", s.APIVersion, s.Kind, APIVersion, Kind)
	case s.Name != l.Name:
		err = fmt.Errorf("name is %q, not %q", s.Name, l.Name)
	case s.Kubernetes.APIServerPort <= 0 || s.Kubernetes.APIServerPort > 65535:
		err = fmt.Errorf("kubernetes.apiServerPort is %d, which is no port", s.Kubernetes.APIServerPort)
	}
	if err != nil {
		return s, Damaged(l, l.SpecFile(), err)
	}
	return s.Default(), nil
}

// WriteSpec writes cluster.yaml, all or nothing.
func WriteSpec(l Layout, s Spec) error {
	data, err := yaml.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode cluster.yaml: %w", err)
	}
	if err := statefile.Write(l.SpecFile(), data, 0o600); err != nil {
		return fmt.Errorf("write cluster.yaml: %w", err)
	}
	return nil
}

// Names returns the names of all clusters that have files below the home directory, sorted, damaged ones too.
func (h Home) Names() ([]string, error) {
	entries, err := os.ReadDir(h.ClustersDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// NodeNames returns the names of the real nodes in order.
func (s Spec) NodeNames() []string {
	s.Nodes = slices.Clone(s.Nodes)
	s.NameNodes()
	var names []string
	for _, g := range s.Nodes {
		if !g.Simulated {
			names = append(names, g.Names...)
		}
	}
	return names
}
