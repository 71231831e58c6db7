package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/embedded/controlplane/atrest"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/tunnel"
)

// adminKubeconfig names the administrator's kubeconfig, which lies beside those of components.
const adminKubeconfig cluster.ComponentName = "admin"

// ErrRunning is returned by Plane.Run if another process runs the control plane of this cluster.
var ErrRunning = errors.New("control plane is already running")

// Plane is the control plane of the cluster in Layout. PKI, cluster.yaml and the nodes' directories exist before Run.
type Plane struct {
	Layout  cluster.Layout
	Version string       // of kl, for the status
	Started time.Time    // when the process started: the timeline counts from it; the call of Run if zero
	Logger  *slog.Logger // slog.Default() if nil
	// Extra returns components that this package does not know; nil for none. They may need the plane's own, such as
	// cluster.KubeAPIServer, Roles or nodewatch.Name, and the plane is ready when they are.
	Extra func(Parts) []lifecycle.Unit
}

// Parts is what an extra component may use.
type Parts struct {
	Spec       cluster.Spec
	Hub        *tunnel.Hub
	Admin      *rest.Config        // super administrator, who needs no object in etcd; without a rate limit
	Kubeconfig string              // path of the super administrator's kubeconfig
	Nodes      *nodewatch.Informer // for components that need nodewatch.Name
	// Socket routes the requests of the status socket. Extra components may add patterns.
	Socket *http.ServeMux
}

// Run serves until ctx is done and returns nil then; by that time every component has released what it held. Any other
// return is a failure, whose reason is also written to Layout.FailedFile. It is ErrRunning if another process runs the
// plane, and nothing is written then.
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
	if err := os.Remove(p.Layout.FailedFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove reason of an earlier failure: %w", err)
	}
	err = p.run(ctx)
	if err != nil {
		if werr := statefile.Write(p.Layout.FailedFile(), []byte(err.Error()+"\n"), 0o600); werr != nil {
			err = errors.Join(err, fmt.Errorf("write reason of failure: %w", werr))
		}
	}
	return err
}

// lock takes the lock on the PID file, which means that this process runs the control plane, and writes its process ID
// there. The kernel releases it when the process ends.
func lock(path string) (unlock func(), err error) {
	l, err := statefile.Claim(path)
	if errors.Is(err, statefile.ErrLocked) {
		pid, rerr := statefile.Read(path)
		if rerr != nil {
			return nil, errors.Join(ErrRunning, rerr)
		}
		return nil, fmt.Errorf("%w: process %s", ErrRunning, strings.TrimSpace(string(pid)))
	}
	if err != nil {
		return nil, fmt.Errorf("lock control plane: %w", err)
	}
	if err := l.Write([]byte(strconv.Itoa(os.Getpid()) + "\n")); err != nil {
		l.Unlock()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return func() {
		_ = l.Write(nil) // a stale process ID does no harm: readers check the lock first
		l.Unlock()
	}, nil
}

func (p *Plane) run(ctx context.Context) error {
	spec, err := cluster.ReadSpec(p.Layout)
	if err != nil {
		return err
	}
	reloadPromptly()
	if err := ensureEncryption(p.Layout, spec); err != nil {
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
	defer func() {
		if err := logs.close(); err != nil {
			p.Logger.Warn("close logs", "error", err)
		}
	}()
	if err := setFeatureGates(spec); err != nil {
		return err
	}
	defer tuneStart()()

	status := newStatus(cluster.Status{
		Cluster: spec.Name, PID: os.Getpid(), Started: p.Started, Version: p.Version, Kubernetes: kubernetesVersion(),
		Phase: cluster.PhaseStarting,
	})
	s, err := newShared(p, spec, files, logs, status)
	if err != nil {
		return err
	}
	dialer, err := s.serviceDialer()
	if err != nil {
		return err
	}
	defer dialer.use()()
	server := &statusServer{status: status, hub: s.hub, mux: http.NewServeMux()}
	(&atrest.Server{Layout: p.Layout, Store: s.store.get, Admin: s.admin, Loaded: loadedEncryption}).Register(server.mux)
	closeServer, err := server.listen(ctx, p.Layout.StatusSocket(), p.Logger)
	if err != nil {
		return err
	}
	defer closeServer()
	units := s.units()
	if p.Extra != nil {
		units = append(units, p.Extra(Parts{Spec: spec, Hub: s.hub, Admin: s.admin, Kubeconfig: files.kubeconfig(adminKubeconfig), Nodes: s.nodes, Socket: server.mux})...)
	}
	return p.supervise(ctx, units, status)
}

// supervise runs the components and keeps the status's phase.
func (p *Plane) supervise(ctx context.Context, units []lifecycle.Unit, status planeStatus) error {
	stop := context.AfterFunc(ctx, func() {
		status.edit(func(s *cluster.Status) {
			if s.Phase != cluster.PhaseStopped && s.Phase != cluster.PhaseFailed {
				s.Phase = cluster.PhaseStopping
			}
		})
	})
	defer stop()
	super := &lifecycle.Supervisor{Units: units, Epoch: p.Started, Logger: p.Logger, Changed: status.reportComponent(p.Layout)}
	p.Logger.Info("control plane starting", "cluster", p.Layout.Name, "pid", os.Getpid())
	err := super.Run(ctx)
	status.edit(func(s *cluster.Status) {
		s.Phase = cluster.PhaseStopped
		if err != nil {
			s.Phase, s.Reason = cluster.PhaseFailed, err.Error()
		}
	})
	if ctx.Err() != nil { // a component that outlived its timeout is logged; the stop is done all the same
		p.Logger.Info("control plane stopped", "cause", context.Cause(ctx), "error", err)
		return nil
	}
	return err
}
