package convert_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/convert"
)

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"

// TestBadInput checks that what is no manifest is answered by a single line that says so, with the line it is on, and soon.
func TestBadInput(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 12 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), ", "))
	}
	for name, tt := range map[string]struct {
		data, want string
	}{
		"empty":             {"", "empty"},
		"blank":             {" \n\n\t\n", "empty"},
		"comments":          {"# nothing\n---\n# here\n", "no Kubernetes manifest"},
		"prose":             {"hello world\n", "no Kubernetes manifest"},
		"a list":            {"- a\n- b\n", "no Kubernetes manifest"},
		"another file":      {"name: me\nversion: 3\n", "no Kubernetes manifest"},
		"no kind":           {"apiVersion: v1\nmetadata: {}\n", "no Kubernetes manifest"},
		"kind is a mapping": {"apiVersion: v1\nkind: {}\n", "no Kubernetes manifest"},
		"binary":            {"\x7fELF\x02\x01\x01\x00\x00", "not a text file"},
		"not UTF-8":         {pod + "x: \xff\xfe\n", "not a text file"},
		"a template":        {pod + "spec:\n  {{- if .Values.x }}\n  a: b\n  {{ end }}\n", "a template has to be filled in first"},
		"a value to fill":   {pod + "spec:\n  a: {{ .Values.x }}\n", "line 5: not a manifest: a key that is no name, as in a template"},
		"a tab":             {pod + "spec:\n\ta: b\n", "line 5: not valid YAML"},
		"a bracket":         {pod + "---\n" + pod + "spec: [\n", "not valid YAML"},
		"second document":   {pod + "---\n" + pod + "spec: : {\n", "line 8: not valid YAML"},
		"a key of a list":   {pod + "? [a, b]\n: c\n", "line 4: not a manifest: a key that is no name"},
		"alias of nothing":  {pod + "spec: *nowhere\n", "not valid YAML: unknown anchor"},
		"alias of itself":   {pod + "spec: &a {b: *a}\n", "too large once its aliases are expanded, or nested too deeply"},
		"alias bomb":        {pod + bomb, "too large once its aliases are expanded"},
		"deep":              {pod + "spec: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested too deeply"},
		"very deep":         {pod + "spec: " + strings.Repeat("[", 50000) + strings.Repeat("]", 50000), "not valid YAML"},
		"deep JSON":         {`{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "nested too deeply"},
		"broken JSON":       {`{"apiVersion": "v1", "kind": "Pod", "spec": {`, "not valid YAML"},
		"huge":              {pod + strings.Repeat("# x\n", convert.MaxSize/4), "larger than 16 MB"},
		"two at once":       {pod + "...\n" + pod, "does not begin with ---"},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := convert.Convert([]byte(tt.data))
			var wrong *convert.Error
			switch {
			case !errors.As(err, &wrong):
				t.Fatalf("got %v, want an Error", err)
			case !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n"):
				t.Errorf("got %q, want one line with %q", err, tt.want)
			}
			if d := time.Since(begin); d > 20*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}

// TestLeft checks that what an API server refuses as it is, and cannot be mended, is named, and stays.
func TestLeft(t *testing.T) {
	for name, tt := range map[string]struct{ data, want string }{
		"no selector": {"apiVersion: v1\nkind: ReplicationController\nmetadata: {name: r}\nspec: {template: {spec: {containers: []}}}\n", "no selector, and no labels"},
		"a template":  {"apiVersion: v1\nkind: Pod\nmetadata: {name: 'p-{{uid}}'}\n", "a template has to be filled in first"},
		"bad JSON":    {"apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {scheduler.alpha.kubernetes.io/affinity: '{'}}\nspec: {}\n", "is not valid JSON"},
		"no container": {"apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {container.apparmor.security.beta.kubernetes.io/x: unconfined}}\nspec: {}\n",
			"names a container that the pod does not have"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := convert.Convert([]byte(tt.data))
			if err != nil {
				t.Fatal(err)
			}
			if r.Left != 1 || len(r.Notes) != 1 || !r.Notes[0].Left || !strings.Contains(r.Notes[0].Text, tt.want) || string(r.Data) != tt.data {
				t.Errorf("want one note with %q, got\n%s%s", tt.want, notes(r), r.Data)
			}
		})
	}
}

// TestOddShapes gives every old kind fields of every wrong shape: the conversion must neither panic nor take long, and its result
// converts to itself.
func TestOddShapes(t *testing.T) {
	odd := []string{"", "3", "[]", "{}", "[1, [null], {a: b}]", "{a: null}", "{metadata: 3, spec: []}"}
	paths := []string{"metadata", "metadata.annotations", "metadata.labels", "spec", "spec.template", "spec.template.metadata", "spec.template.spec",
		"spec.template.metadata.labels", "spec.template.spec.containers", "spec.strategy", "spec.strategy.rollingUpdate", "spec.updateStrategy", "spec.selector",
		"spec.jobTemplate", "spec.schedule", "spec.backend", "spec.rules", "spec.metrics", "spec.versions", "spec.validation", "spec.validation.openAPIV3Schema",
		"spec.validation.openAPIV3Schema.properties", "spec.conversion", "spec.names", "spec.limited", "spec.request", "spec.usages", "webhooks", "rules", "subjects", "roleRef",
		"versions", "description", "endpoints", "series", "items", "spec.scaleTargetRef", "spec.scaleRef", "spec.cpuUtilization", "externalAdmissionHooks", "spec.version"}
	n := 0
	for api, kinds := range oldKinds(t) {
		for _, kind := range kinds {
			for _, path := range paths {
				for _, value := range odd {
					n++
					checkStable(t, nested(api, kind, path, value))
				}
			}
		}
	}
	t.Logf("%d manifests", n)
}

// oldKinds returns apiVersion and kind of all inputs.
func oldKinds(t *testing.T) map[string][]string {
	t.Helper()
	kinds, seen := map[string][]string{}, map[string]bool{}
	for name, data := range manifests(t) {
		if strings.HasSuffix(name, ".json") {
			continue
		}
		api := ""
		for _, line := range strings.Split(string(data), "\n") {
			if v, ok := strings.CutPrefix(line, "apiVersion: "); ok {
				api, _, _ = strings.Cut(v, " ")
			}
			if kind, ok := strings.CutPrefix(line, "kind: "); ok && !seen[api+kind] {
				seen[api+kind] = true
				kinds[api] = append(kinds[api], kind)
			}
		}
	}
	return kinds
}

// nested is a manifest with a value at a path.
func nested(api, kind, path, value string) string {
	text, indent := "apiVersion: "+api+"\nkind: "+kind+"\n", ""
	parts := strings.Split(path, ".")
	for i, p := range parts {
		text += indent + p + ":"
		if i < len(parts)-1 {
			text += "\n"
			indent += "  "
		}
	}
	return text + " " + value + "\n"
}

// checkStable checks that a manifest converts, and its result to itself; that a result without notes is the source; and that a change
// has a note.
func checkStable(t *testing.T, manifest string) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("panic: %v\n%s", r, manifest)
		}
	}()
	once, err := convert.Convert([]byte(manifest))
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q\n%s", err, manifest)
		}
		return
	}
	if string(once.Data) != manifest && len(once.Notes) == 0 {
		t.Errorf("changed without a note:\n%s\nis now\n%s", manifest, once.Data)
	}
	twice, err := convert.Convert(once.Data)
	if errors.Is(err, convert.ErrNoManifest) {
		return
	}
	if err != nil || string(twice.Data) != string(once.Data) {
		t.Errorf("%v: converting twice is not converting once:\n%s\nis now\n%s\nand then\n%s", err, manifest, once.Data, twice.Data)
	}
}

// FuzzConvert checks that any text converts, or is answered by one line.
func FuzzConvert(f *testing.F) {
	f.Add(pod)
	f.Add("---\n# a\n- b: &x {c: 1}\n  <<: *x\n")
	f.Add("apiVersion: v1\nkind: List\nitems:\n# a\n- apiVersion: policy/v1beta1 # b\n  kind: PodSecurityPolicy\n- apiVersion: batch/v1beta1\n  kind: CronJob\n  spec: {schedule: TZ=UTC @daily}\n")
	f.Add("apiVersion: extensions/v1beta1\nkind: Deployment\nspec:\n- a\n -b\n")
	f.Fuzz(func(t *testing.T, text string) { checkStable(t, text) })
}
