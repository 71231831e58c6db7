package cmd

import (
	"runtime"

	"github.com/spf13/cobra"
)

// Version is the versions of kl and of the programs in its payload; empty ones are unknown.
type Version struct {
	KL         string `json:"kl"`
	Kubernetes string `json:"kubernetes"`
	Etcd       string `json:"etcd,omitempty"`
	Containerd string `json:"containerd,omitempty"`
	CoreDNS    string `json:"coredns,omitempty"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

func newVersionCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of kl and its components",
		Example: "  kl version\n  kl version -o json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return version(e, o) },
	}
	addOutput(cmd, &o)
	return cmd
}

func version(e *env, o output) error {
	v := e.Version
	v.Go, v.Platform = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH
	if o.isJSON() {
		return printJSON(e.Out, v)
	}
	for _, line := range [][2]string{
		{"kl", v.KL}, {"kubernetes", v.Kubernetes}, {"etcd", v.Etcd}, {"containerd", v.Containerd},
		{"coredns", v.CoreDNS}, {"go", v.Go}, {"platform", v.Platform},
	} {
		field(e.Out, line[0], line[1])
	}
	return nil
}
