package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"sync"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/pki"
	"github.com/klkube/kl/cluster/statefile"

	"golang.org/x/sync/errgroup"
)

// UpOptions says how to bring a cluster up; what to bring up is in the Spec.
type UpOptions struct {
	NoWait     bool          // return once the API answers
	Timeout    time.Duration // 0 means DefaultTimeout
	Retain     bool          // leave what a failed up made, for a look at it
	HowToKeep  string        // the hint of an error whose logs are gone; empty means that of kl up
	Restart    string        // RestartAlways, RestartNo, or empty: as it was
	Kubeconfig string        // merge into this file instead of Host.Kubeconfigs, or fail before anything starts

	// Bundles are loaded into all nodes when they are ready. One that cannot be read fails before anything starts; if loading fails, the
	// cluster stays up.
	Bundles []images.Archive

	DeleteVolumes bool // lets Apply remove nodes although claims have their data there
}

// What UpOptions.Restart can be: whether the cluster starts when the machine boots.
const (
	RestartAlways = "always"
	RestartNo     = "no"
)

// DefaultTimeout is how long up waits for a cluster to be ready.
const DefaultTimeout = 3 * time.Minute

// undoTimeout is how long cleaning up may take after a failure or a Ctrl-C.
const undoTimeout = time.Minute

// Result is what up did.
type Result struct {
	Cluster    string             `json:"cluster"`
	Driver     cluster.DriverName `json:"driver"`
	Running    bool               `json:"alreadyRunning"` // there was nothing to do
	Kubernetes string             `json:"kubernetes"`
	Upgraded   string             `json:"upgradedFrom,omitempty"` // the version that the cluster had before
	Nodes      int                `json:"nodes"`
	Context    string             `json:"context"`
	Kubeconfig string             `json:"kubeconfig"` // the file merged into; empty if there is none
	Seconds    float64            `json:"seconds"`
	Steps      []cluster.Step     `json:"steps"`
	Warnings   []string           `json:"warnings,omitempty"` // what of the cluster does not work, and why
	Status     cluster.Status     `json:"-"`
	Began      time.Time          `json:"-"` // zero of Steps
	Events     []cluster.Event    `json:"-"` // of Steps
}

// Up makes what is missing of a cluster and returns when it is ready. A zero field of want keeps what an existing cluster
// has, and leaves the choice to kl for a new one. When Up fails, or ctx ends, it removes what it made.
func (h *Host) Up(ctx context.Context, want cluster.Spec, o UpOptions) (*Result, error) {
	return h.lockedUp(ctx, want, o, h.upLocked)
}

// upRequest is what to bring up, and how, under the cluster's lock.
type upRequest struct {
	want    cluster.Spec
	replace bool // want is all that the cluster shall have, and not only what to add
	tries   bool // a configuration that has to prove that the cluster comes up with it
	opts    UpOptions
	layout  cluster.Layout
	steps   *recorder
}

// lockedUp runs f while it holds the lock of the cluster that want names. Waiting for the lock takes at most the timeout
// of o.
func (h *Host) lockedUp(ctx context.Context, want cluster.Spec, o UpOptions, f func(context.Context, upRequest) (*Result, error)) (*Result, error) {
	want.Name = cmp.Or(want.Name, cluster.DefaultName)
	if err := cluster.CheckName(want.Name); err != nil {
		return nil, err
	}
	if err := readFiles(&want); err != nil {
		return nil, err
	}
	bundles, err := checkBundles(o.Bundles)
	if err != nil {
		return nil, err
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	r := upRequest{want: want, opts: o, layout: h.Home.Cluster(want.Name), steps: newRecorder(h.Events)}
	waiting, cancel := o.limit(ctx)
	lock, err := acquire(waiting, r.layout, "kl up", r.steps)
	cancel()
	if err != nil {
		return nil, err
	}
	defer release(r.layout, lock)
	if err := checkMoved(r.layout); err != nil {
		return nil, err
	}
	result, err := f(ctx, r)
	if err != nil {
		return result, err
	}
	return result, h.loadBundles(ctx, r, bundles)
}

func (o UpOptions) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("not done within %s", o.Timeout))
}

// upLocked is Up for callers that hold the lock.
func (h *Host) upLocked(ctx context.Context, r upRequest) (*Result, error) {
	ctx, cancel := r.opts.limit(ctx)
	defer cancel()
	u := &upRun{host: h, opts: r.opts, replace: r.replace, tries: r.tries, layout: r.layout, steps: r.steps, apiReady: make(chan struct{})}
	defer u.close()
	result, err := u.run(ctx, r.want)
	if err == nil {
		if err := u.spreadImages(ctx); err != nil {
			u.steps.say(cluster.StepImage, cluster.StepWarning, err.Error())
		}
		if err := h.pruneSuperseded(ctx); err != nil {
			u.steps.say(cluster.StepPayload, cluster.StepNote, err.Error())
		}
		return result, u.autostart(ctx) // which may fail, and the cluster stays up
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	u.steps.fail()
	return nil, errors.Join(err, u.undo(context.WithoutCancel(ctx)))
}

// upRun is one run of Up.
type upRun struct {
	host    *Host
	opts    UpOptions
	replace bool // see upRequest
	tries   bool // see upRequest
	layout  cluster.Layout
	steps   *recorder
	spec    cluster.Spec
	driver  cluster.Driver
	why     string // how driver auto became this one; empty if the Spec names it
	payload cluster.Payload

	fresh   bool         // there was no such cluster
	before  cluster.Spec // what there was, if not fresh
	from    string       // version of Kubernetes of what there was; empty if nobody knows
	wrote   bool         // this run wrote files
	plane   *process     // the control plane this run started
	target  string       // the kubeconfig this run merges into; empty for none
	context string       // the cluster's context there

	warnings []string // of the wait: see watcher.warn

	apiReady chan struct{} // closed once the API answers, through apiOnce
	apiOnce  sync.Once

	mu      sync.Mutex
	made    []cluster.Node // nodes this run made
	changed bool           // a node was made or turned on
}

func (u *upRun) close() {
	if u.driver != nil {
		u.driver.Close()
	}
}

func (u *upRun) run(ctx context.Context, want cluster.Spec) (*Result, error) {
	if err := u.loadState(ctx, want); err != nil {
		return nil, err
	}
	var err error
	if u.driver, u.why, err = u.host.chooseFor(ctx, u.spec); err != nil {
		return nil, err
	}
	u.spec.Driver = u.driver.Name()
	warn := func(text string) { u.steps.say(cluster.StepPreflight, cluster.StepWarning, text) }
	if err := u.chooseKubeconfig(warn); err != nil {
		return nil, err
	}
	if err := u.preflight(ctx, warn); err != nil {
		return nil, err
	}
	if err := finishStop(ctx, u.layout); err != nil {
		return nil, err
	}
	pid, err := ControlPlanePID(u.layout)
	if err != nil {
		return nil, err
	}
	published := u.before // its ports are taken by the control plane itself
	if pid == 0 {
		published = cluster.Spec{}
	}
	checkHostPorts(u.spec, published, warn)
	have, err := u.driver.List(ctx, u.spec.Name)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	if err := u.checkNodes(have); err != nil {
		return nil, err
	}
	if pid, err = u.prepareAll(ctx, pid, have); err != nil {
		return nil, err
	}
	if u.fresh && passesOn(u.spec) {
		if err := u.check(ctx); err != nil {
			return nil, &cluster.Error{Op: "make cluster " + u.spec.Name, Err: err}
		}
	}
	status, err := u.start(ctx, pid, have)
	if err != nil {
		return nil, err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) { // the wait gave up: the API serves, and its user needs to reach it
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		ctx = last
	}
	if err := u.steps.within(ctx, cluster.StepKubeconfig, func() (string, error) { return "", u.mergeKubeconfig(ctx) }); err != nil {
		return nil, err
	}
	return u.result(status, pid != 0 && !u.changed), nil
}

// loadState sets u.spec: what an existing cluster has and want changes, or all of want for a new cluster.
func (u *upRun) loadState(ctx context.Context, want cluster.Spec) error {
	have, err := cluster.ReadSpec(u.layout)
	switch {
	case err == nil:
		if err := pki.Recover(u.layout); err != nil {
			return err
		}
		if err := checkKeys(u.layout); err != nil {
			return err
		}
		u.before = have
		u.spec, err = adopt(have, want, u.replace)
		u.spec.NameNodes()
		return err
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := checkNew(u.layout); err != nil {
		return err
	}
	u.spec, u.fresh = want.Default(), true
	u.spec.Encryption = u.spec.Encryption.Default()
	if err := u.host.checkSimulated(u.spec); err != nil {
		return err
	}
	if u.spec.Encryption.Provider == cluster.EncryptionKMS {
		if err := checkPlugin(ctx, u.spec.Encryption.KMS); err != nil {
			return err
		}
	}
	u.spec.NameNodes()
	return nil
}

// adopt applies what is asked for to an existing cluster.
func adopt(have, want cluster.Spec, replace bool) (cluster.Spec, error) {
	refuse := func(what string) error {
		return &cluster.Error{
			Op: "change cluster " + have.Name, Err: errors.New(what),
			Hint: fmt.Sprintf("'kl down --name %s' removes the cluster, or choose another --name", have.Name),
		}
	}
	if have.Driver == cluster.DriverSimulated && have.NodeCount() == 0 && want.NodeCount() > 0 { // its first real nodes
		have.Driver = cmp.Or(want.Driver, cluster.DriverAuto)
	}
	if want.Driver != "" && want.Driver != cluster.DriverAuto && want.Driver != have.Driver {
		return have, refuse(fmt.Sprintf("its driver is %s, which cannot become %s", have.Driver, want.Driver))
	}
	if want.Nodes != nil && replace {
		have.Nodes = want.Nodes
	} else if want.Nodes != nil {
		if want.NodeCount() < have.NodeCount() {
			return have, refuse(fmt.Sprintf("it has %d nodes, %d were asked for", have.NodeCount(), want.NodeCount()))
		}
		if more := want.NodeCount() - have.NodeCount(); more > 0 {
			have.Nodes = grow(have.Nodes, more)
		}
		if n := want.SimulatedCount(); n > 0 && n != have.SimulatedCount() {
			have.Nodes = simulated(have.Nodes, n)
		}
	}
	port := have.Kubernetes.APIServerPort
	if p := want.Kubernetes.APIServerPort; p != 0 && p != port {
		return have, refuse("its API server's port is in every node's configuration")
	}
	have.Ephemeral = have.Ephemeral || want.Ephemeral
	if want.Encryption.Provider != "" || len(want.Encryption.Resources) > 0 {
		have.Encryption = config.Encrypted(have.Encryption, want.Encryption)
	}
	if replace { // the caller has checked what may change; addresses and identity stay
		return withSettings(have, want), nil
	}
	return have, nil
}

// writeState makes the cluster's directory and writes down what was decided.
func (u *upRun) writeState(running bool) error {
	u.wrote = true
	if err := statefile.MkdirAll(u.layout.Dir(), 0o700); err != nil {
		return &cluster.Error{Op: "make " + u.layout.Dir(), Err: err}
	}
	port := &u.spec.Kubernetes.APIServerPort
	switch {
	case *port == 0:
		chosen, err := choosePort(u.host.Home, u.spec)
		if err != nil {
			return err
		}
		*port = chosen
	case !running:
		if err := checkPort(u.layout, *port); err != nil {
			return err
		}
	}
	if err := noteDriver(u.layout, u.why); err != nil {
		return &cluster.Error{Op: "save cluster " + u.spec.Name, Err: err}
	}
	var err error
	if !reflect.DeepEqual(u.spec, u.before) {
		err = cluster.WriteSpec(u.layout, u.spec)
	}
	if err == nil {
		err = cluster.WriteOrigin(u.layout)
	}
	if err != nil {
		return &cluster.Error{Op: "save cluster " + u.spec.Name, Err: err}
	}
	return nil
}

// start brings up the control plane and the nodes side by side and waits until all of it is ready.
func (u *upRun) start(ctx context.Context, pid int, have []cluster.Node) (cluster.Status, error) {
	g, gctx := errgroup.WithContext(ctx)
	var status cluster.Status
	g.Go(func() error {
		if err := thaw(pid); err != nil {
			return &cluster.Error{Op: "resume control plane", Err: err}
		}
		running := pid != 0
		if !running {
			u.steps.start(cluster.StepControlPlane)
			plane, err := u.host.spawn(gctx, u.layout, u.payload.Engine)
			if err != nil {
				return &cluster.Error{Op: "start control plane", Err: err}
			}
			u.plane = plane
		}
		w := newWatcher(u, running)
		err := w.wait(gctx)
		status = w.last
		return err
	})
	g.Go(func() error { return u.startNodes(gctx, have) })
	g.Go(func() error { return u.simulate(gctx) })
	return status, g.Wait()
}

// autostart makes the cluster start at boot, or no longer, if that was asked for.
func (u *upRun) autostart(ctx context.Context) error {
	on := u.opts.Restart == RestartAlways
	switch {
	case u.opts.Restart == "", u.host.StartAtBoot == nil && !on:
		return nil
	case u.host.StartAtBoot == nil:
		return &cluster.Error{Op: "have the machine start cluster " + u.spec.Name, Err: errors.ErrUnsupported}
	}
	var done cluster.Autostart
	err := u.steps.do(cluster.StepAutostart, func() (string, error) {
		var err error
		if done, err = u.host.StartAtBoot(ctx, u.layout, on); !on {
			return "off", err
		}
		return done.Path, err
	})
	if err == nil && done.Note != "" {
		u.steps.say(cluster.StepAutostart, cluster.StepWarning, done.Note)
	}
	return err
}

func (u *upRun) result(status cluster.Status, running bool) *Result {
	steps, total := u.steps.finished()
	return &Result{
		Cluster: u.spec.Name, Driver: u.spec.Driver, Running: running,
		Kubernetes: status.Kubernetes, Upgraded: u.upgraded(), Nodes: u.spec.NodeCount(),
		Context: cmp.Or(u.context, cluster.ContextName(u.spec.Name)), Kubeconfig: u.target,
		Seconds: total.Seconds(), Steps: steps, Warnings: u.warnings, Status: status,
		Began: u.steps.begin, Events: u.steps.history(),
	}
}
