// Command kl-policy is the CNI plugin of package cni: containerd starts it for each pod, after ptp.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/klkube/kl/embedded/node/policy/cni"
)

func main() {
	if err := cni.Run(context.Background(), os.Getenv, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
