package timeline

import (
	"cmp"
	"slices"
	"time"

	"github.com/klkube/kl/cluster"
)

// Start is what is known of a start of a cluster.
type Start struct {
	Title    string
	Began    time.Time       // of the command: zero of the chart
	Steps    []cluster.Step  // of the command
	Events   []cluster.Event // of its steps
	Status   cluster.Status  // of the control plane, once all was ready
	Programs map[string]cluster.NodeProgram
}

// quick is what takes so few seconds that a node's component is left out of a chart, unless others wait for it.
const quick = 0.01

// IDs of steps that others refer to; those of kl's own components of the control plane are their names.
const (
	idProcess   = "process"
	idAPI       = "API answers"
	idRoles     = "roles"
	idBootstrap = "bootstrap"
	idApprover  = "approver"
	idObserver  = "observer"

	partCredentials = "credentials" // of a node
	partRegistered  = "registered"
	partReady       = "Ready"
)

func nodeID(node, step string) string { return node + "/" + step }

// Of makes the chart of a start. What had run before the command is not in it.
func Of(s Start) Chart {
	c := Chart{Title: s.Title}
	var nodes []Group
	for _, n := range s.Status.Nodes {
		if step, ok := s.step(n.Name); ok {
			nodes = append(nodes, s.node(n.Name, step))
		}
	}
	groups := append([]Group{s.host(nodes), s.plane()}, nodes...)
	for _, g := range append(groups, s.dns(groups)) {
		if len(g.Steps) > 0 {
			c.Groups = append(c.Groups, g)
		}
	}
	return c
}

// seconds is a moment on the chart's axis.
func (s Start) seconds(t time.Time) float64 { return t.Sub(s.Began).Seconds() }

func (s Start) step(name string) (cluster.Step, bool) {
	i := slices.IndexFunc(s.Steps, func(step cluster.Step) bool { return step.Name == name })
	if i < 0 {
		return cluster.Step{}, false
	}
	return s.Steps[i], true
}

// host is what the command itself does; what the other groups show in detail is not in it.
func (s Start) host(nodes []Group) Group {
	g := Group{Name: "host"}
	elsewhere := []string{cluster.StepControlPlane, cluster.StepAccount, cluster.StepDNS}
	for _, n := range nodes {
		elsewhere = append(elsewhere, n.Name)
	}
	for _, step := range s.Steps {
		if slices.Contains(elsewhere, step.Name) {
			continue
		}
		t := Step{ID: step.Name, Name: step.Name, Began: step.Began, Ended: step.Began + step.Seconds}
		switch step.Name {
		case cluster.StepKubeconfig:
			t.After = []string{idAPI, cluster.StepAccount, string(cluster.KubeScheduler), cluster.DNSAnswers, cluster.StepSimulated}
			for _, n := range nodes {
				t.After = append(t.After, nodeID(n.Name, partReady))
			}
		case cluster.StepImage:
			t.After = []string{cluster.StepPayload}
		case cluster.StepSimulated:
			t.After = []string{idAPI}
		}
		g.Steps = append(g.Steps, t)
	}
	sortSteps(g.Steps)
	return g
}

// plane is the control plane, if this command has started it.
func (s Start) plane() Group {
	g := Group{Name: "control plane"}
	step, ok := s.step(cluster.StepControlPlane)
	if !ok || s.seconds(s.Status.Started) < 0 {
		return g
	}
	zero := s.seconds(s.Status.Started)
	g.Steps = append(g.Steps, Step{
		ID: idProcess, Name: idProcess, Began: step.Began, Ended: zero, After: []string{cluster.StepPayload, cluster.StepCertificates},
	})
	g.Steps = append(g.Steps, components(s.Status.Components, zero, func(name cluster.ComponentName) string { return string(name) }, idProcess)...)
	g.Steps = append(g.Steps, Step{
		ID: idAPI, Name: idAPI, Began: step.Began + step.Seconds, Ended: step.Began + step.Seconds,
		After: []string{string(cluster.KubeAPIServer), idObserver},
	})
	if account, ok := s.step(cluster.StepAccount); ok {
		g.Steps = append(g.Steps, Step{
			ID: account.Name, Name: account.Name, Began: account.Began, Ended: account.Began + account.Seconds,
			After: []string{string(cluster.KubeControllerManager), idAPI},
		})
	}
	sortSteps(g.Steps)
	return g
}

// components are the steps of the parts of one process, in which zero is its start. Those that need no other wait for the process.
func components(list []cluster.ComponentStatus, zero float64, id func(cluster.ComponentName) string, process string) []Step {
	var steps []Step
	for _, c := range list {
		if c.Ready == 0 {
			continue // it is not ready yet, and nothing waits for it
		}
		t := Step{ID: id(c.Name), Name: string(c.Name), Began: zero + c.Began, Ended: zero + c.Ready, After: []string{process}}
		for i, need := range c.Needs {
			if i == 0 {
				t.After = nil
			}
			t.After = append(t.After, id(need))
		}
		steps = append(steps, t)
	}
	return steps
}

// node is what happened in a node that this command has made or started.
func (s Start) node(name string, step cluster.Step) Group {
	g := Group{Name: name}
	id := func(part cluster.ComponentName) string { return nodeID(name, string(part)) }
	ready := step.Began + step.Seconds
	container := Step{ID: id("container"), Name: "container", Began: step.Began, After: []string{cluster.StepImage, cluster.StepPayload}}
	container.Ended = s.moment(name, "started", step.Began)
	program, ok := s.Programs[name]
	booted := s.seconds(program.Started)
	if ok = ok && booted >= step.Began; ok {
		if container.Ended == step.Began || booted < container.Ended {
			container.Ended = booted // it ran before its driver had said so
		}
		g.Steps = append(g.Steps, Step{ID: id("boot"), Name: "boot", Began: container.Ended, Ended: booted, After: []string{container.ID}})
		g.Steps = append(g.Steps, notable(components(program.Components, booted, id, id("boot")), id("boot"))...)
	}
	for i, t := range g.Steps {
		if t.Name == partCredentials { // the control plane lets a node in once it has its rights, and signs what it asks for
			g.Steps[i].After = append(slices.Clone(t.After), idRoles, idBootstrap, idApprover)
		}
	}
	connected := s.moment(name, "connected", ready)
	registered := s.moment(name, partRegistered, ready)
	register := Step{ID: id(partRegistered), Name: partRegistered, Began: min(container.Ended, registered), Ended: registered, After: []string{container.ID}}
	if i := slices.IndexFunc(g.Steps, func(t Step) bool { return t.ID == id(cluster.Kubelet) }); i >= 0 { // which is ready later than its node
		register.Began, register.After = min(g.Steps[i].Began, registered), g.Steps[i].After
	}
	g.Steps = append(g.Steps, container, register,
		Step{ID: id("connected"), Name: "connected", Began: min(container.Ended, connected), Ended: connected, After: []string{container.ID, idObserver}},
		Step{ID: id(partReady), Name: partReady, Began: registered, Ended: ready, After: []string{register.ID, id("connected")}})
	sortSteps(g.Steps)
	return g
}

// moment is when a step of the command said something, or the given time if it never did.
func (s Start) moment(step, message string, otherwise float64) float64 {
	for _, e := range s.Events {
		if e.Step == step && e.Message == message {
			return s.seconds(e.Time)
		}
	}
	return otherwise
}

// notable leaves out the steps that take no time and that no other waits for. One of which all needs are left out waits for the process.
func notable(steps []Step, process string) []Step {
	needed := map[string]bool{}
	for _, t := range steps {
		for _, id := range t.After {
			needed[id] = needed[id] || t.Ended-t.Began >= quick
		}
	}
	left := slices.DeleteFunc(steps, func(t Step) bool { return t.Ended-t.Began < quick && !needed[t.ID] })
	for i, t := range left {
		if !slices.ContainsFunc(left, func(o Step) bool { return slices.Contains(t.After, o.ID) }) {
			left[i].After = []string{process}
		}
	}
	return left
}

// dns is how the cluster's DNS came up. Each moment is the end of a step, which begins when the last thing that it waited for was there.
func (s Start) dns(others []Group) Group {
	g := Group{Name: "DNS"}
	ends := map[string]float64{}
	var nodes, registered []string
	for _, o := range others {
		for _, t := range o.Steps {
			ends[t.ID] = t.Ended
			switch t.ID {
			case nodeID(o.Name, partReady):
				nodes = append(nodes, t.ID)
			case nodeID(o.Name, partRegistered):
				registered = append(registered, t.ID)
			}
		}
	}
	waits := map[string][]string{
		cluster.DNSDeployment: append(registered, string(cluster.KubeAPIServer), idBootstrap), // it is made for the first node
		cluster.DNSPod:        {string(cluster.KubeControllerManager), cluster.DNSDeployment},
		cluster.DNSScheduled:  slices.Concat(nodes, []string{string(cluster.KubeScheduler), cluster.DNSPod}),
		cluster.DNSRunning:    slices.Concat(nodes, []string{cluster.DNSScheduled}),
		cluster.DNSReady:      {cluster.DNSRunning},
		cluster.DNSAnswers:    {cluster.DNSReady},
	}
	order := slices.IndexFunc(s.Status.Moments, func(m cluster.Moment) bool { return m.Name == cluster.DNSReady || m.Name == cluster.DNSAnswers })
	if order >= 0 && s.Status.Moments[order].Name == cluster.DNSAnswers {
		// After a stop the API still says for a while that the pod is ready, as it was, and DNS may answer before that is true again.
		waits[cluster.DNSAnswers] = []string{cluster.DNSRunning}
	}
	zero := s.seconds(s.Status.Started)
	for _, m := range s.Status.Moments {
		t := Step{ID: m.Name, Name: m.Name, Ended: zero + m.At, After: waits[m.Name]}
		if t.Ended < 0 {
			continue // before this command
		}
		t.Began = -1
		for _, id := range t.After {
			if end, ok := ends[id]; ok && end <= t.Ended {
				t.Began = max(t.Began, end)
			}
		}
		if t.Began < 0 {
			t.Began = t.Ended
		}
		ends[t.ID] = t.Ended
		g.Steps = append(g.Steps, t)
	}
	return g
}

// sortSteps sorts by start. Those that start together keep their order.
func sortSteps(steps []Step) {
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.Began, b.Began) })
}
