package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/tunnel"
)

// Names of kl's own components; those of upstream are in package cluster.
const (
	Tunnel    cluster.ComponentName = "tunnel"    // accepts the nodes' agents
	Egress    cluster.ComponentName = "egress"    // how the API server reaches nodes and pods
	Roles     cluster.ComponentName = "roles"     // the API server's own RBAC policy: nothing may be done before
	Bootstrap cluster.ComponentName = "bootstrap" // the first objects
	NodeIPAM  cluster.ComponentName = "node-ipam" // nodes' ranges of pod addresses
	Observer  cluster.ComponentName = "observer"  // nodes and DNS, for the status
)

// adminKubeconfig is the administrator's kubeconfig in the private directory.
const adminKubeconfig = "admin"

// ErrRunning is returned by Run if another process runs the control plane of this cluster.
var ErrRunning = errors.New("control plane is already running")

// errStopAsked is the cause of a stop that came through the status socket.
var errStopAsked = errors.New("stop was asked for")

// Plane is the control plane of the cluster in Layout. PKI, cluster.yaml and the nodes' directories exist before Run.
type Plane struct {
	Layout  cluster.Layout
	Version string       // kl's, for the status
	Started time.Time    // of the process: what the timeline counts from; the call of Run if zero
	Logger  *slog.Logger // slog.Default() if nil
	// Extra adds components that this package does not know, or none if it is nil. They may need any of the plane's own
	// by name ("kube-apiserver"), and the plane is ready when they are.
	Extra func(Parts) []lifecycle.Unit
}

// Parts is what an extra component may use.
type Parts struct {
	Spec       cluster.Spec
	Hub        *tunnel.Hub
	Admin      *rest.Config // administrator, without a rate limit
	Kubeconfig string       // path of the same as a file
	// Socket is what the status socket answers, to which patterns may be added.
	Socket *http.ServeMux
}

// Run serves until ctx is done or a stop is asked for on the status socket; it returns nil then, and by that time every
// component has released what it held. Any other return is a failure, and its reason is also left in the file
// run/failed; ErrRunning is the exception, since that cluster is somebody else's.
func (p *Plane) Run(ctx context.Context) error {
	if p.Started.IsZero() {
		p.Started = time.Now()
	}
	if p.Logger == nil {
		p.Logger = slog.Default()
	}
	unlock, err := lock(p.Layout.PIDFile())
	if err != nil {
		return err
	}
	defer unlock()
	_ = os.Remove(p.failedFile())
	err = p.run(ctx)
	if err != nil {
		if werr := os.WriteFile(p.failedFile(), []byte(err.Error()+"\n"), 0o600); werr != nil {
			err = errors.Join(err, fmt.Errorf("write reason of failure: %w", werr))
		}
	}
	return err
}

// failedFile tells why the last run of the control plane ended, if it failed.
func (p *Plane) failedFile() string { return filepath.Join(p.Layout.RunDir(), "failed") }

func (p *Plane) run(ctx context.Context) error {
	spec, err := readSpec(p.Layout.SpecFile())
	if err != nil {
		return err
	}
	files, err := writeFiles(p.Layout, spec)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	logs, err := openLogs(p.Layout, spec)
	if err != nil {
		return fmt.Errorf("open logs: %w", err)
	}
	defer logs.close()
	if err := setFeatureGates(spec); err != nil {
		return err
	}
	defer tuneStart()()

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	b := newBoard(cluster.Status{
		Cluster: spec.Name, PID: os.Getpid(), Started: p.Started, Version: p.Version, Kubernetes: kubernetesVersion(),
		Phase: cluster.PhaseStarting,
	})
	w, err := newWorld(p, spec, files, logs, b)
	if err != nil {
		return err
	}
	server := &statusServer{board: b, hub: w.hub, stop: func() { stop(errStopAsked) }, mux: http.NewServeMux()}
	closeServer, err := server.listen(ctx, p.Layout.StatusSocket(), p.Logger)
	if err != nil {
		return err
	}
	defer closeServer()
	context.AfterFunc(ctx, func() {
		b.update(func(s *cluster.Status) {
			if s.Phase != cluster.PhaseStopped && s.Phase != cluster.PhaseFailed {
				s.Phase = cluster.PhaseStopping
			}
		})
	})

	units := w.units()
	if p.Extra != nil {
		units = append(units, p.Extra(Parts{Spec: spec, Hub: w.hub, Admin: w.admin, Kubeconfig: files.kubeconfig(adminKubeconfig), Socket: server.mux})...)
	}
	super := &lifecycle.Supervisor{Units: units, Epoch: p.Started, Logger: p.Logger, Changed: b.component(p.Layout)}
	p.Logger.Info("control plane starting", "cluster", spec.Name, "pid", os.Getpid())
	err = super.Run(ctx)
	b.update(func(s *cluster.Status) {
		s.Phase = cluster.PhaseStopped
		if err != nil {
			s.Phase, s.Reason = cluster.PhaseFailed, err.Error()
		}
	})
	if ctx.Err() != nil {
		// A component that outlived its timeout is worth a line, but the stop was asked for and is done.
		p.Logger.Info("control plane stopped", "cause", context.Cause(ctx), "error", err)
		return nil
	}
	return err
}

// readSpec reads cluster.yaml; an error names the file.
func readSpec(path string) (cluster.Spec, error) {
	var spec cluster.Spec
	data, err := os.ReadFile(path)
	if err != nil {
		return spec, fmt.Errorf("read spec: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, &spec); err != nil {
		return spec, fmt.Errorf("read spec %s: %w", path, err)
	}
	if spec.Kubernetes.APIServerPort == 0 || spec.Networking.ServiceCIDR == "" {
		return spec, fmt.Errorf("read spec %s: the API server's port or the service range is missing", path)
	}
	return spec, nil
}
