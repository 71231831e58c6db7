package convert

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const rbac = "rbac.authorization.k8s.io"

// roleRules adds today's groups to what a role grants in the group extensions.
func (o *object) roleRules() {
	if !strings.HasPrefix(o.api, rbac+"/") {
		return
	}
	for _, r := range items(o.node, "rules") {
		o.addGroups(r)
	}
}

func roleOfAlpha(o *object) string {
	for _, r := range items(o.node, "rules") {
		if key, _ := remove(r, "attributeRestrictions"); key != nil {
			o.changed(key, "attributeRestrictions is removed: it never had an effect")
		}
	}
	return ""
}

// bindingOfAlpha gives subjects the group that v1alpha1 wrote as a version.
func bindingOfAlpha(o *object) string {
	for _, s := range items(o.node, "subjects") {
		if key, v := remove(s, "apiVersion"); key != nil {
			if group, _, ok := strings.Cut(v.Value, "/"); ok && get(s, "apiGroup") == nil && text(s, "kind") != "ServiceAccount" {
				set(s, "apiGroup", str(group))
			}
			o.changed(key, "apiVersion of a subject is now apiGroup")
		}
		if kind, name := get(s, "kind"), get(s, "name"); kind != nil && name != nil && kind.Value == "User" && name.Value == "*" {
			set(s, "kind", like(kind, "Group"))
			set(s, "name", like(name, "system:authenticated"))
			o.changed(name, "the user * is now the group system:authenticated, which it meant")
		}
	}
	ref := get(o.node, "roleRef")
	if key, _ := remove(ref, "apiVersion"); key != nil {
		if get(ref, "apiGroup") == nil {
			set(ref, "apiGroup", str(rbac))
		}
		o.changed(key, "apiVersion of roleRef is now apiGroup")
	}
	if key, _ := remove(ref, "namespace"); key != nil {
		o.changed(key, "namespace of roleRef is removed: a binding refers to a role of its own namespace, or to a cluster role")
	}
	return ""
}

func accessReview(o *object) string {
	spec := get(o.node, "spec")
	if key, _ := find(spec, "group"); key != nil {
		rename(spec, "group", "groups")
		o.changed(key, "spec.group is now spec.groups")
	}
	return ""
}

// signingRequest writes out signer and usages as the API server of the old version chose them.
func signingRequest(o *object) string {
	spec := get(o.node, "spec")
	o.writeDefault(spec, "", "spec.usages", stringsOf("digital signature", "key encipherment"), "it is required today")
	key, signer := find(spec, "signerName")
	if signer != nil && signer.Value != "kubernetes.io/legacy-unknown" && signer.Value != "" {
		return ""
	}
	name := signerOf(text(spec, "request"), words(spec, "usages"))
	if name == "" {
		return "certificates.k8s.io/v1 wants a signer, and none follows from the request: set spec.signerName, and apiVersion: certificates.k8s.io/v1"
	}
	set(spec, "signerName", str(name))
	if key == nil {
		key = spec
	}
	o.changed(key, "signerName: %s is written out, which follows from subject and usages: it is required today", name)
	return ""
}

// signerOf returns the signer that a certificate request was for before requests named one; empty if that cannot be told.
func signerOf(request string, usages []string) string {
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(request), ""))
	if err != nil {
		return ""
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return ""
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return ""
	}
	client, server := slices.Contains(usages, "client auth"), slices.Contains(usages, "server auth")
	node := slices.Equal(csr.Subject.Organization, []string{"system:nodes"}) && strings.HasPrefix(csr.Subject.CommonName, "system:node:")
	switch {
	case node && server && !client:
		return "kubernetes.io/kubelet-serving"
	case node && client && !server:
		return "kubernetes.io/kube-apiserver-client-kubelet"
	case client && !server && !slices.Contains(csr.Subject.Organization, "system:masters"):
		return "kubernetes.io/kube-apiserver-client"
	}
	return ""
}

// priorityLevel converts the shares of API Priority and Fairness.
func priorityLevel(o *object) string {
	limited := get(o.node, "spec", "limited")
	if key, _ := find(limited, "assuredConcurrencyShares"); key != nil {
		rename(limited, "assuredConcurrencyShares", "nominalConcurrencyShares")
		o.changed(key, "assuredConcurrencyShares is now nominalConcurrencyShares")
	}
	const keepZero = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"
	if key, _ := o.annotation(keepZero); key != nil {
		dropAnnotation(o.node, keepZero)
		o.changed(key, "annotation %s is removed: 0 means 0 in v1", keepZero)
	} else if v := get(limited, "nominalConcurrencyShares"); v != nil && v.Value == "0" {
		n := integer(30)
		n.Line, n.LineComment = v.Line, v.LineComment
		set(limited, "nominalConcurrencyShares", n)
		o.changed(v, "nominalConcurrencyShares: 0 is now 30, which it stood for: it means none today")
	}
	return ""
}

func runtimeClass(o *object) string {
	key, spec := remove(o.node, "spec")
	if spec == nil {
		return ""
	}
	rename(spec, "runtimeHandler", "handler")
	for i := 0; spec.Kind == yaml.MappingNode && i+1 < len(spec.Content); i += 2 {
		o.node.Content = append(o.node.Content, spec.Content[i], spec.Content[i+1])
	}
	o.changed(key, "the fields of spec stand at the top, and runtimeHandler is now handler")
	return ""
}

// event converts events, of which v1 requires more.
func event(o *object) string {
	if key, _ := remove(get(o.node, "series"), "state"); key != nil {
		o.changed(key, "series.state is removed")
	}
	source := get(o.node, "deprecatedSource")
	for _, f := range []struct{ field, value string }{
		{"eventTime", text(o.node, "deprecatedFirstTimestamp")},
		{"reportingController", text(source, "component")},
		{"reportingInstance", text(source, "host")},
		{"action", text(o.node, "reason")},
		{"type", "Normal"},
	} {
		if get(o.node, f.field) != nil {
			continue
		}
		if f.value == "" {
			o.left(o.node, "%s is required in events.k8s.io/v1: set it", f.field)
			continue
		}
		if f.field == "eventTime" && !strings.Contains(f.value, ".") {
			f.value = strings.TrimSuffix(f.value, "Z") + ".000000Z"
		}
		set(o.node, f.field, str(f.value))
		o.changed(o.node, "%s is written out: it is required today", f.field)
	}
	for _, f := range []string{"deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount", "deprecatedSource"} {
		if key, _ := remove(o.node, f); key != nil {
			o.changed(key, "%s is removed: events.k8s.io/v1 refuses it in new events", f)
		}
	}
	return ""
}
