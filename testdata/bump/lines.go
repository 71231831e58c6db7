package main

import (
	"strings"

	"golang.org/x/mod/semver"
)

// kubernetes is the module that the others have to fit.
const kubernetes = "k8s.io/kubernetes"

// line says which releases of a module kl may use. Pre-releases are in no line.
type line int

const (
	patches line = iota // of the minor version in use: what others require decides when the next minor version comes
	minors              // of the major version in use
	staging             // of the modules that are released with Kubernetes: v0.37.2 with v1.37.2
	named               // patches of the minor version that Kubernetes' go.mod names
	aligned             // of no later a minor version than Kubernetes'
	held                // none but the one in use
)

// lines are the modules that do not only get patches. containerd is not among them: each of its minor versions compiles with the
// CRI of one minor version of Kubernetes (2.3 with 1.36, 2.4 with 1.37), so the two move together and by hand.
func lines() map[string]line {
	return map[string]line{
		kubernetes:                                                 minors,
		"sigs.k8s.io/cri-tools":                                    aligned,
		"sigs.k8s.io/kwok":                                         minors,
		"sigs.k8s.io/metrics-server":                               minors,
		"github.com/coredns/coredns":                               minors,
		"github.com/charmbracelet/x/ansi":                          held,  // v0.11.9 brings a go-runewidth that takes 30 ms of each start of kl
		"github.com/google/cadvisor/lib":                           named, // a kubelet compiles with no other
		"github.com/kubernetes-csi/csi-test/v5":                    minors,
		"go.etcd.io/etcd/api/v3":                                   named,
		"go.etcd.io/etcd/client/v3":                                named,
		"go.etcd.io/etcd/server/v3":                                named, // the API server relies on what this etcd does
		"sigs.k8s.io/sig-storage-lib-external-provisioner/v13":     minors,
		"github.com/kubernetes-csi/external-snapshotter/v8":        minors,
		"github.com/kubernetes-csi/external-snapshotter/client/v8": minors,
	}
}

// released reports whether a version is a release of its own: no pre-release, no pseudo-version, and none of the placeholders
// that stand for a replaced module.
func released(version string) bool {
	return semver.IsValid(version) && semver.Prerelease(version) == "" && semver.Build(version) == "" && version != "v0.0.0"
}

// newest returns the newest release of a line, which is current if there is no newer one. min is the minor version that line
// named or aligned refers to, such as v3.7.
func newest(current string, l line, min string, versions []string) string {
	best := current
	for _, v := range versions {
		if released(v) && l.has(current, min, v) && semver.Compare(v, best) > 0 {
			best = v
		}
	}
	return best
}

// has reports whether a release is in the line of the one in use.
func (l line) has(current, minor, v string) bool {
	if semver.Major(v) != semver.Major(current) {
		return false
	}
	switch l {
	case minors:
		return true
	case held:
		return false
	case named:
		return semver.MajorMinor(v) == minor
	case aligned:
		return semver.Compare(semver.MajorMinor(v), minor) <= 0
	}
	return semver.MajorMinor(v) == semver.MajorMinor(current)
}

// stagingVersion is the version of the modules that are released with a version of Kubernetes.
func stagingVersion(kubernetes string) string { return "v0." + strings.TrimPrefix(kubernetes, "v1.") }
