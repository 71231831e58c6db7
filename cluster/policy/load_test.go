package policy

import (
	"bytes"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// load adds the objects of YAML documents to o.
func (o *Objects) load(t *testing.T, text []byte) {
	t.Helper()
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		var kind struct{ Kind string }
		var into any
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "Node":
			o.Nodes = append(o.Nodes, &corev1.Node{})
			into = o.Nodes[len(o.Nodes)-1]
		case "Namespace":
			o.Namespaces = append(o.Namespaces, &corev1.Namespace{})
			into = o.Namespaces[len(o.Namespaces)-1]
		case "Pod":
			o.Pods = append(o.Pods, &corev1.Pod{})
			into = o.Pods[len(o.Pods)-1]
		case "NetworkPolicy":
			o.Policies = append(o.Policies, &networkingv1.NetworkPolicy{})
			into = o.Policies[len(o.Policies)-1]
		default:
			t.Fatalf("unexpected kind %q in %s", kind.Kind, doc)
		}
		if err := yaml.UnmarshalStrict(doc, into); err != nil {
			t.Fatalf("%v in %s", err, doc)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
