package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klkube/kl/embedded/payload"
)

// node is one file of the tree to pack: a directory, a symbolic link, or a regular file whose content is in data or, if
// that is nil, in the file source.
type node struct {
	mode   fs.FileMode
	link   string
	source string
	data   []byte
	pkg    string // Debian package that data was made from, if any
}

// tree maps slash-separated paths, relative to the archive, to files.
type tree map[string]node

// add puts a file into the root file system, together with the directories above it.
func (t tree) add(name string, n node) {
	name = path.Join(payload.RootfsName, name)
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := t[dir]; !ok {
			t[dir] = node{mode: fs.ModeDir | 0o755}
		}
	}
	t[name] = n
}

func (t tree) dir(mode fs.FileMode, names ...string) {
	for _, name := range names {
		t.add(name, node{mode: fs.ModeDir | mode})
	}
}

func (t tree) text(name, content string) { t.add(name, node{mode: 0o644, data: []byte(content)}) }

func (t tree) program(name, source string) { t.add(name, node{mode: 0o755, source: source}) }

// link makes a symbolic link; target is relative to the link's directory.
func (t tree) link(name, target string) {
	t.add(name, node{mode: fs.ModeSymlink | 0o777, link: target})
}

// programs are the programs that must be in o.bin, with their directories in a node.
func programs() map[string]string {
	return map[string]string{
		"kl-engine":               "usr/local/bin",
		"kl-init":                 "usr/local/bin",
		"runc":                    "usr/local/bin",
		"containerd-shim-runc-v2": "usr/local/bin",
		"crictl":                  "usr/local/bin",
		"kl-critest":              "usr/local/bin",
		"ptp":                     "opt/cni/bin",
		"host-local":              "opt/cni/bin",
		"portmap":                 "opt/cni/bin",
		"loopback":                "opt/cni/bin",
		"kl-policy":               "opt/cni/bin",
	}
}

// nodeTree lays out the root file system of a node: Debian's merged /usr, its tools and libraries, kl's programs, and the
// directories that are mounted or written to later.
func nodeTree(o options, packages []debianPackage) (tree, error) {
	t := tree{}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		t.dir(0o755, "usr/"+name)
		t.link(name, "usr/"+name)
	}
	t.dir(0o755, "proc", "sys", "dev", "run", "home", "mnt", "opt/cni/bin", "kl/run", "kl/node", "kl/images",
		"etc/cni/net.d", "etc/containerd", "etc/kubernetes/manifests", "usr/libexec/kubernetes/kubelet-plugins/volume/exec",
		"var/lib/kubelet", "var/lib/containerd", "var/log/pods", "var/log/containers")
	t.dir(0o700, "root")
	t.dir(fs.ModeSticky|0o777, "tmp", "var/tmp")
	t.link("var/run", "../run")
	t.link("etc/mtab", "../proc/self/mounts")
	for name, content := range etcFiles(o) {
		t.text(name, content)
	}
	programs := programs()
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		source := filepath.Join(o.bin, name)
		if _, err := os.Stat(source); err != nil {
			return nil, fmt.Errorf("find program: %w", err)
		}
		t.program(path.Join(programs[name], name), source)
	}
	image, err := pauseImage(filepath.Join(o.bin, "pause"), o.arch)
	if err != nil {
		return nil, fmt.Errorf("make pause image: %w", err)
	}
	t.add("kl/images/pause.tar", node{mode: 0o644, data: image})
	return t, addDebian(t, packages)
}

// etcFiles are the files of /etc that every node starts with. Docker replaces hosts, hostname and resolv.conf; kl-init
// writes machine-id, which differs in every node.
func etcFiles(o options) map[string]string {
	return map[string]string{
		"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
		"etc/group":         "root:x:0:\nnogroup:x:65534:\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		// nft prints protocols by these names. Without them a restarted kube-proxy does not recognise its own map elements
		// and deletes them.
		"etc/protocols":   "icmp\t1\tICMP\ntcp\t6\tTCP\nudp\t17\tUDP\nipv6-icmp\t58\tIPv6-ICMP\nsctp\t132\tSCTP\n",
		"etc/hosts":       "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
		"etc/hostname":    "",
		"etc/resolv.conf": "",
		"etc/machine-id":  "",
		// crictl's own limit of 2 s is too short for a busy machine.
		"etc/crictl.yaml": "runtime-endpoint: unix:///run/containerd/containerd.sock\nimage-endpoint: unix:///run/kl/images.sock\ntimeout: 30\n",
		"etc/profile":     "export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\h:\\w\\$ '\n",
		"etc/os-release": "NAME=kl\nID=kl\nPRETTY_NAME=\"kl node " + o.versions["kl"] + "\"\nVERSION_ID=\"" +
			strings.TrimPrefix(o.versions["kl"], "v") + "\"\n",
	}
}
