package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

func TestConfigView(t *testing.T) {
	const text = "apiVersion: kl.dev/v1alpha1\nkind: Cluster\nname: shop\nnodes: [{count: 2}]\n"
	file := filepath.Join(t.TempDir(), "kl.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	fromFile := m.must("config", "view", "-f", file)
	for _, want := range []string{"name: shop\n", "count: 2\n", "serviceCIDR: 10.96.0.0/16\n"} {
		if !strings.Contains(fromFile, want) {
			t.Errorf("no %q in:\n%s", want, fromFile)
		}
	}
	fromStdin, _, _ := m.runWith(text, "config", "view", "-f", "-")
	if fromStdin != fromFile {
		t.Errorf("standard input gives another configuration:\n%s", fromStdin)
	}
	again, _, _ := m.runWith(fromFile, "config", "view", "-f", "-")
	if again != fromFile {
		t.Errorf("the view of the view is another:\n%s", again)
	}
	var spec cluster.Spec
	decode(t, m.must("config", "view", "-f", file, "-o", "json"), &spec)
	if spec.Name != "shop" || spec.NodeCount() != 2 {
		t.Errorf("spec is %+v", spec)
	}
	_, stderr, code := m.runWith(text+"nods: 3\n", "config", "view", "-f", "-")
	if code != exitUsage || !strings.Contains(stderr, `unknown field "nods"`) {
		t.Errorf("unknown field: exit code %d, %s", code, stderr)
	}
	_, stderr, code = m.run("config", "view", "-f", filepath.Dir(file))
	if code != exitUsage || !strings.Contains(stderr, "is a directory") {
		t.Errorf("a directory: exit code %d, %s", code, stderr)
	}
}

func TestConfigSchema(t *testing.T) {
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	decode(t, newMachine(t).must("config", "schema"), &schema)
	for _, field := range []string{"name", "nodes", "networking", "kubernetes", "disable"} {
		if schema.Properties[field] == nil {
			t.Errorf("the schema has no field %s", field)
		}
	}
}
