package cmd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/bundle"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/registry"
)

func newImagePushCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "push IMAGE | ARCHIVE [TARGET]",
		Short: "Push an image of the local engine to a registry",
		Long: "Push an image of the local container engine, or of an archive with one image, for this machine's platform: to the\n" +
			"registry that the name has or, if it has none, to kl's own, as localhost:5000/NAME. TARGET is another name for it.\n" +
			"Layers that the registry has are not sent. Credentials are those of your docker config.",
		Example: "  kl image push app:dev\n  kl image push app:dev registry.example/team/app:1.0\n  kl image push app.tar localhost:5000/app:dev",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			target := ""
			if len(args) == 2 {
				target = args[1]
			}
			return imagePush(cmd.Context(), e, args[0], target)
		},
	}
}

func imagePush(ctx context.Context, e *env, from, target string) (err error) {
	g := &gatherer{env: e}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := g.gather(ctx, []string{from}, nil); err != nil {
		return err
	}
	if len(g.items) != 1 {
		return &cluster.Error{Op: "push " + from, Err: fmt.Errorf("the archive has %d images", len(g.items)), Hint: "name an archive with one image"}
	}
	item := g.items[0]
	if target == "" && len(item.Names) > 0 {
		target = item.Names[0]
	}
	if target, err = e.pushTarget(target); err != nil {
		return &cluster.Error{Op: "push " + from, Err: err}
	}
	return e.push(ctx, target, item)
}

// pushTarget returns the full name of what is pushed: one without a registry is for kl's own.
func (e *env) pushTarget(name string) (string, error) {
	if name == "" {
		return "", errors.New("the image has no name: give it one")
	}
	full, err := images.FullName(name)
	if err != nil {
		return "", err
	}
	rest, hub := strings.CutPrefix(full, "docker.io/library/")
	if !hub {
		if rest, hub = strings.CutPrefix(full, "docker.io/"); strings.HasPrefix(name, "docker.io/") && !strings.HasPrefix(name, "docker.io/library/") {
			hub = false // it was written out
		}
	}
	if !hub {
		return full, nil
	}
	store := registry.Open(e.Home)
	defer store.Close()
	port := store.Port()
	if port == 0 {
		return "", errors.New("kl's registry has never run: start a cluster, or name the registry to push to")
	}
	return fmt.Sprintf("localhost:%d/%s", port, rest), nil
}

func (e *env) push(ctx context.Context, target string, item bundle.Item) error {
	line := newLiveLine(e.Err)
	d, err := e.upstream().Push(ctx, target, item.From, item.Image, func(sent, total int64) {
		line.show(func() string {
			return fmt.Sprintf("%s: %.1f of %.1f MB", target, float64(sent)/1e6, float64(total)/1e6)
		})
	})
	line.clear()
	if err != nil {
		return err
	}
	fmt.Fprintf(e.Out, "%s: %s\n", printable(target), d)
	return nil
}

// upstream is how registries are reached: as the cluster of that name says, if there is one.
func (e *env) upstream() registry.Upstream {
	u := registry.Upstream{Proxy: http.ProxyFromEnvironment}
	if spec, err := cluster.ReadSpec(e.layout()); err == nil {
		u.Registries = spec.Upstream()
	}
	return u
}
