// Command thirdparty writes THIRD_PARTY.md: the programs, Go modules and Debian packages that kl and its payload consist
// of, their versions and licences, from go.mod, the modules' licence files and debian.lock.
//
//	go run ./embedded/payload/thirdparty > THIRD_PARTY.md
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := write(ctx, os.Stdout, "."); err != nil {
		fmt.Fprintln(os.Stderr, "thirdparty:", err)
		os.Exit(1)
	}
}

const head = `# Third-party software

kl itself is Apache-2.0 (LICENSE). The file ` + "`kl`" + ` consists of the modules below and carries an archive with the
root file system of a node: programs built from the same modules, and tools of Debian. Written by
` + "`go run ./embedded/payload/thirdparty > THIRD_PARTY.md`" + `; a test fails when it is out of date.

The licence files of the Go modules are in the modules, at https://proxy.golang.org; those of the Debian packages are in the
archive, below /usr/share/doc. The source of the Debian packages, which are unchanged, is at https://snapshot.debian.org
under the name and version given here.
`

// write writes the document for the source tree at root.
func write(ctx context.Context, w io.Writer, root string) error {
	var b bytes.Buffer
	b.WriteString(head)
	used, err := usedModules(ctx, root)
	if err != nil {
		return fmt.Errorf("list modules: %w", err)
	}
	if err := writePrograms(&b, used); err != nil {
		return err
	}
	if err := writeDebian(&b, root); err != nil {
		return err
	}
	if err := writeModules(&b, used); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// nodeProgram is a program of the payload and the module it is built from.
type nodeProgram struct{ name, module, what string }

func nodePrograms() []nodeProgram {
	return []nodeProgram{
		{"kl-engine", "k8s.io/kubernetes", "API server, controller manager, scheduler, kubelet, kube-proxy"},
		{"kl-engine", "go.etcd.io/etcd/server/v3", "etcd"},
		{"kl-engine", "github.com/containerd/containerd/v2", "containerd"},
		{"kl-engine", "github.com/coredns/coredns", "CoreDNS"},
		{"kl-engine", "k8s.io/kubectl", "kubectl"},
		{"containerd-shim-runc-v2", "github.com/containerd/containerd/v2", "containerd's shim"},
		{"runc", "github.com/opencontainers/runc", "container runtime; statically linked with Debian's libseccomp (LGPL-2.1) and libc"},
		{"crictl", "sigs.k8s.io/cri-tools", "client of the container runtime"},
		{"kl-critest", "sigs.k8s.io/cri-tools", "CRI validation suite"},
		{"ptp, host-local, portmap, loopback", "github.com/containernetworking/plugins", "CNI plugins"},
	}
}

func writePrograms(w io.Writer, used map[string]goModule) error {
	fmt.Fprint(w, "\n## Programs of a node\n\n| program | what | module | version | licence |\n| --- | --- | --- | --- | --- |\n")
	for _, p := range nodePrograms() {
		m, ok := used[p.module]
		if !ok {
			return fmt.Errorf("%s is not linked in", p.module)
		}
		licence, err := m.licence()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", p.name, p.what, p.module, m.Version, licence)
	}
	fmt.Fprint(w, "| kl-init, pause | PID 1 of a node and of a pod | this one | | Apache-2.0 |\n"+
		"| kl-policy | CNI plugin that waits for a pod's policies | this one | | Apache-2.0 |\n")
	return nil
}
