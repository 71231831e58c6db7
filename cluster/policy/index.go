package policy

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// identity is all pods of a namespace with the same labels, which no selector can tell apart.
type identity struct {
	namespace string
	labels    labels.Set
	pods      []*Pod
	objects   []*corev1.Pod
	policies  []*Policy // that select it, in the order of the model
}

// index finds identities by namespace and label, so that a selector has to be evaluated for few of them.
type index struct {
	all         []*identity
	byNamespace map[string][]*identity
	byLabel     map[[2]string][]*identity // label key and value
	namespaces  map[string]labels.Set
}

func newIndex(namespaces []*corev1.Namespace, pods []source) *index {
	x := &index{
		byNamespace: map[string][]*identity{}, byLabel: map[[2]string][]*identity{},
		namespaces: make(map[string]labels.Set, len(namespaces)),
	}
	for _, n := range namespaces {
		x.namespaces[n.Name] = n.Labels
	}
	seen := make(map[string]*identity, len(pods))
	var buf []byte
	var keys []string
	for _, p := range pods {
		buf, keys = identityKey(buf[:0], keys[:0], p.Namespace, p.object.Labels)
		id := seen[string(buf)]
		if id == nil {
			id = &identity{namespace: p.Namespace, labels: p.object.Labels}
			seen[string(buf)] = id
			x.all = append(x.all, id)
			x.byNamespace[p.Namespace] = append(x.byNamespace[p.Namespace], id)
			for k, v := range p.object.Labels {
				x.byLabel[[2]string{k, v}] = append(x.byLabel[[2]string{k, v}], id)
			}
		}
		id.pods = append(id.pods, p.Pod)
		id.objects = append(id.objects, p.object)
	}
	return x
}

// identityKey appends the key of an identity to buf; keys is scratch space. Labels cannot contain the separator.
func identityKey(buf []byte, keys []string, namespace string, l map[string]string) ([]byte, []string) {
	for k := range l {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	buf = append(buf, namespace...)
	for _, k := range keys {
		buf = append(buf, '\n')
		buf = append(buf, k...)
		buf = append(buf, '=')
		buf = append(buf, l[k]...)
	}
	return buf, keys
}

// in returns the identities of a namespace that a selector matches.
func (x *index) in(namespace string, s labels.Selector) []*identity {
	return x.filter(x.candidates(x.byNamespace[namespace], s), s, func(ns string) bool { return ns == namespace })
}

// across returns the identities that a selector matches in the namespaces that another selector matches. An unknown namespace
// has no labels.
func (x *index) across(namespaces, s labels.Selector) []*identity {
	matched := map[string]bool{}
	return x.filter(x.candidates(x.all, s), s, func(ns string) bool {
		ok, known := matched[ns]
		if !known {
			ok = namespaces.Matches(x.namespaces[ns])
			matched[ns] = ok
		}
		return ok
	})
}

// candidates returns a subset of all that has every identity the selector matches.
func (x *index) candidates(all []*identity, s labels.Selector) []*identity {
	requirements, selectable := s.Requirements()
	if !selectable {
		return nil
	}
	best := all
	for _, r := range requirements {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
		default:
			continue
		}
		if values := r.Values(); values.Len() == 1 {
			if with := x.byLabel[[2]string{r.Key(), values.UnsortedList()[0]}]; len(with) < len(best) {
				best = with
			}
		}
	}
	return best
}

func (x *index) filter(ids []*identity, s labels.Selector, namespace func(string) bool) []*identity {
	var out []*identity
	for _, id := range ids {
		if namespace(id.namespace) && s.Matches(id.labels) {
			out = append(out, id)
		}
	}
	return out
}

// addrs returns the addresses of the pods of some identities, ordered.
func addrs(ids []*identity) []netip.Addr {
	n := 0
	for _, id := range ids {
		n += len(id.pods)
	}
	out := make([]netip.Addr, 0, n)
	for _, id := range ids {
		for _, p := range id.pods {
			out = append(out, p.Addrs...)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// describe returns what a selector matches as text.
func describe(noun string, s labels.Selector) string {
	if s.Empty() {
		return "all " + noun
	}
	return noun + " with " + strings.ReplaceAll(s.String(), ",", ", ")
}
