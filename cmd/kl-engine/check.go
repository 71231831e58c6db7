package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane"
	"github.com/klkube/kl/embedded/node"
)

// runCheck is the check role. What it finds goes to standard output, apart from what upstream logs.
func runCheck(ctx context.Context, args []string) error {
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 2 && args[0] == string(cluster.ControlPlane):
		err = checkControlPlane(ctx, args[1], data)
	case len(args) == 1 && args[0] == "node":
		var config cluster.NodeConfig
		if err = yaml.UnmarshalStrict(data, &config); err == nil {
			err = node.Check(config, slog.New(slog.DiscardHandler))
		}
	default:
		return fmt.Errorf("want control-plane and a directory, or node; got %q", args)
	}
	if err != nil {
		fmt.Println(err)
		return errors.New("refused")
	}
	return nil
}

func checkControlPlane(ctx context.Context, dir string, data []byte) error {
	layout, err := layoutOf(dir)
	if err != nil {
		return err
	}
	var spec cluster.Spec
	if err := yaml.UnmarshalStrict(data, &spec); err != nil {
		return err
	}
	return controlplane.Check(ctx, layout, spec)
}
