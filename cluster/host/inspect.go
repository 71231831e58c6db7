package host

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
	"github.com/klkube/kl/cluster/registry"
)

// Info is what is known about a cluster, without waiting for anything.
type Info struct {
	Name       string             `json:"name"`
	Driver     cluster.DriverName `json:"driver"`
	DriverWhy  string             `json:"driverReason,omitempty"` // how auto became this driver; empty if the Spec names it
	Phase      cluster.Phase      `json:"phase"`
	Reason     string             `json:"reason,omitempty"`
	Kubernetes string             `json:"kubernetes,omitempty"`
	Server     string             `json:"server,omitempty"`
	Registry   string             `json:"registry,omitempty"` // where the home's registry is, unless the cluster has none
	Dir        string             `json:"dir"`
	Nodes      []cluster.Node     `json:"nodes"`            // as the driver sees them
	Status     *cluster.Status    `json:"status,omitempty"` // what the control plane reports, if it runs
	Crashes    *cluster.Crashes   `json:"crashes,omitempty"`
	Problems   []string           `json:"problems,omitempty"`
}

const inspectTimeout = 5 * time.Second // for a control plane that hangs

// Inspect looks at one cluster. What cannot be seen becomes a problem in the answer; the only error is that there is no
// such cluster.
func (h *Host) Inspect(ctx context.Context, name string) (Info, error) {
	l := h.Home.Cluster(name)
	info := Info{Name: name, Phase: cluster.PhaseStopped, Dir: l.Dir(), Nodes: []cluster.Node{}}
	names, err := h.Home.Names()
	if err != nil {
		return info, err
	}
	var specErr error
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		if !slices.Contains(names, name) {
			return info, err
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = cluster.Damaged(l, l.SpecFile(), fs.ErrNotExist)
		}
		specErr = err
		info.Problems = append(info.Problems, err.Error())
	} else {
		info.Driver, info.DriverWhy, info.Server = spec.Driver, driverReason(l), kubeconfig.ServerURL(spec.Kubernetes.APIServerPort)
		info.Nodes, err = h.listNodes(ctx, spec)
		if err != nil {
			info.Problems = append(info.Problems, err.Error())
		}
		for _, n := range info.Nodes {
			if n.State == cluster.NodeDamaged {
				info.Problems = append(info.Problems, "node "+n.Name+" is damaged: "+n.Problem)
			}
		}
	}
	if specErr == nil {
		certificates, _ := cluster.ReadCertificates(l) // what is damaged is found by the verbs that need it
		for _, c := range certificates {
			if warning := c.Warning(name, time.Now()); warning != "" {
				info.Problems = append(info.Problems, warning)
			}
		}
		rotation, _ := RotationOf(l)
		info.Problems = append(info.Problems, rotation.Problems(name)...)
	}
	askErr := info.ask(ctx, l)
	if askErr != nil {
		info.Problems = append(info.Problems, ofAnother(l, askErr).Error())
	}
	if info.Phase == cluster.PhaseStarting && errors.Is(askErr, fs.ErrPermission) { // it runs, and does not let this user ask
		info.Phase = cluster.PhaseUnknown
	}
	if info.Phase == cluster.PhaseUnknown || info.Phase == cluster.PhaseStopped {
		info.Phase = cmp.Or(unreadable(specErr, askErr), info.Phase)
	}
	if port := registry.Open(h.Home).Port(); specErr == nil && info.Status != nil && port != 0 && spec.Enabled(cluster.FeatureRegistry) {
		info.Registry = "localhost:" + strconv.Itoa(port)
	}
	if from := cluster.MovedFrom(l); from != "" {
		info.Phase, info.Reason = cluster.PhaseMoved, movedReason(l, from)
		info.Problems = append(info.Problems, info.Reason+"; "+movedHint(l, from))
	}
	return info, nil
}

// unreadable returns the phase of a cluster whose files cannot be read, for these reasons; empty if there is none. A file that
// this user may not read need not be damaged.
func unreadable(errs ...error) (phase cluster.Phase) {
	for _, err := range errs {
		switch {
		case err == nil:
		case !errors.Is(err, fs.ErrPermission):
			return cluster.PhaseDamaged
		default:
			phase = cluster.PhaseUnknown
		}
	}
	return phase
}

// ask fills in what the control plane reports, or why it does not run.
func (i *Info) ask(ctx context.Context, l cluster.Layout) error {
	if err := i.look(l); err != nil {
		return err
	}
	if i.Phase != cluster.PhaseStarting {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	c := cluster.NewClient(l)
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		if now, pidErr := ControlPlanePID(l); pidErr == nil && now == 0 { // it was just ending
			return i.look(l)
		}
		return err
	}
	i.Status, i.Phase, i.Reason, i.Kubernetes = &s, s.Phase, s.Reason, s.Kubernetes
	return nil
}

// look fills in what is known without asking the control plane.
func (i *Info) look(l cluster.Layout) (err error) {
	if i.Phase, i.Reason, err = PhaseOf(l); err != nil {
		return err
	}
	// After the phase: a crash that is the reason for it is never missing.
	s, _, err := cluster.ReadSupervision(l)
	if err == nil && s.Crashes.Count > 0 {
		i.Crashes = &s.Crashes
	}
	return err
}

// PhaseOf returns what is known of a control plane without asking it: Stopped, Crashed or Paused, with the reason, or Starting
// for one that may answer. With an error it is Unknown.
func PhaseOf(l cluster.Layout) (cluster.Phase, string, error) {
	pid, err := ControlPlanePID(l)
	if err != nil {
		return cluster.PhaseUnknown, "", err
	}
	if pid == 0 {
		s, alive, err := cluster.ReadSupervision(l)
		if err != nil {
			return cluster.PhaseUnknown, "", err
		}
		phase, reason := s.Down(alive)
		return phase, reason, nil
	}
	if frozen(pid) {
		return cluster.PhasePaused, "", nil
	}
	return cluster.PhaseStarting, "", nil
}

func (h *Host) listNodes(ctx context.Context, spec cluster.Spec) ([]cluster.Node, error) {
	d, err := h.driverFor(ctx, spec)
	if err != nil {
		return []cluster.Node{}, err
	}
	defer d.Close()
	nodes, err := d.List(ctx, spec.Name)
	if nodes == nil {
		nodes = []cluster.Node{}
	}
	return nodes, err
}

// List looks at every cluster below the home directory, in order of their names.
func (h *Host) List(ctx context.Context) ([]Info, error) {
	names, err := h.Home.Names()
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(names))
	for _, name := range names {
		info, err := h.Inspect(ctx, name)
		if err != nil { // gone since
			continue
		}
		infos = append(infos, info)
	}
	return infos, ctx.Err()
}

// Node finds a node of a cluster and the driver that made it, which the caller closes.
func (h *Host) Node(ctx context.Context, clusterName, name string) (cluster.Node, cluster.Driver, error) {
	d, nodes, err := h.backend(ctx, clusterName)
	if err != nil {
		return cluster.Node{}, nil, err
	}
	for _, n := range nodes {
		if n.Name == name {
			return n, d, nil
		}
	}
	d.Close()
	return cluster.Node{}, nil, &cluster.Error{
		Op: "find node", Node: name, Err: errors.New("cluster " + clusterName + " has no such node"), Hint: "'kl node list' shows them",
	}
}

// Driver opens the driver that has made a cluster's nodes. The caller closes it.
func (h *Host) Driver(ctx context.Context, name string) (cluster.Driver, error) {
	spec, err := cluster.ReadSpec(h.Home.Cluster(name))
	if err != nil {
		return nil, err
	}
	return h.driverFor(ctx, spec)
}

// backend returns the driver of a cluster, which the caller closes, and the cluster's nodes.
func (h *Host) backend(ctx context.Context, name string) (cluster.Driver, []cluster.Node, error) {
	l := h.Home.Cluster(name)
	if err := checkMoved(l); err != nil {
		return nil, nil, err
	}
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		return nil, nil, err
	}
	d, err := h.driverFor(ctx, spec)
	if err != nil {
		return nil, nil, err
	}
	nodes, err := d.List(ctx, name)
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return d, nodes, nil
}
