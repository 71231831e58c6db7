package bundle

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const app = `apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers:
      - image: busybox
      containers:
      - {name: app, image: "example.com/app:1"}
      - name: again
        image: example.com/app:1
      volumes:
      - name: model
        image: {reference: example.com/model:2, pullPolicy: Always}
---
# nothing
---
{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [
    {"image": "job@sha256:0000000000000000000000000000000000000000000000000000000000000000"}]}}}}}},
  {"apiVersion": "v1", "kind": "ConfigMap", "data": {"image": "no:1"}}
]}
---
apiVersion: example.com/v1
kind: Database
spec: {image: "postgres:17", logo: {image: "not an image"}, containers: &c [{image: redis}], more: {containers: *c}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec: {example: {image: no:2}}
`

func TestRefs(t *testing.T) {
	refs, err := Refs("app.yaml", []byte(app))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range refs {
		got = append(got, fmt.Sprintf("%s %s %t", r.Name, r.Where, r.Certain))
	}
	want := []string{
		"docker.io/library/busybox:latest app.yaml:7 true", "example.com/app:1 app.yaml:9 true", "example.com/model:2 app.yaml:14 true",
		"docker.io/library/job@sha256:" + strings.Repeat("0", 64) + " app.yaml:20 true",
		"docker.io/library/postgres:17 app.yaml:26 false", "docker.io/library/redis:latest app.yaml:26 true",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestRefsBad(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for i := 'b'; i <= 'j'; i++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	for text, want := range map[string]string{
		"a: [":                         "app.yaml is not YAML",
		"a: b\n\tc":                    "app.yaml is not YAML",
		"{{- if .Values.x }}\na: b":    "render it first",
		"containers: [{image: UPPER}]": "app.yaml:1: \"UPPER\" is not the name of an image",
		"containers: [{image: 'a b'}]": "app.yaml:1: \"a b\" is not the name",
		"x:\ncontainers: [{image: '{{ .Values.image }}'}]":                 "app.yaml:2: image \"{{ .Values.image }}\" is a template; if it is a template, render it first",
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization": "app.yaml:1 is a kustomization",
		strings.Repeat("[", 9000):                                          "app.yaml",
		strings.Repeat("- ", 300):                                          "app.yaml:1: too many values, or too deep",
		bomb:                                                               "too many values",
		"a: &a [*a]":                                                       "app.yaml",
	} {
		refs, err := Refs("app.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, %v, want %q", text, refs, err, want)
		}
	}
	for _, text := range []string{"", "---\n", "null", "7", "image:", "containers: [{image: ''}, {image: null}, {image: [x]}]", "[]", "image: {x: y}"} {
		if refs, err := Refs("app.yaml", []byte(text)); err != nil || refs != nil {
			t.Errorf("%q: %v, %v", text, refs, err)
		}
	}
}
