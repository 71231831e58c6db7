package observe

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
)

// NodeState is the state of a node.
type NodeState struct {
	Node  *corev1.Node
	Name  string
	Roles string
	Level Level
	Text  string // Ready, NotReady, Disconnected (kl only), Ready,SchedulingDisabled
	Why   string
	Pods  int

	MilliCPU, MilliCPUUsed, MilliCPURequested int64
	Memory, MemoryUsed, MemoryRequested       int64 // bytes
	PodLimit                                  int64
	Measured                                  bool // the Used fields come from metrics
	Kubelet                                   string
	Created                                   time.Time
	KL                                        bool // it is in the status of a kl cluster
	Connected                                 bool // its tunnel is up (kl only)
}

// Nodes returns the state of every node of a snapshot, ordered by name, n10 after n9.
func Nodes(s *Snapshot, now time.Time) []NodeState {
	out := make([]NodeState, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		out = append(out, nodeState(s, n, now))
	}
	slices.SortStableFunc(out, func(a, b NodeState) int { return natural(a.Name, b.Name) })
	return out
}

func nodeState(s *Snapshot, n *corev1.Node, now time.Time) NodeState {
	st := NodeState{Node: n, Name: n.Name, Text: "Unknown", Level: Bad, Kubelet: n.Status.NodeInfo.KubeletVersion,
		Created: n.CreationTimestamp.Time, Roles: roles(n)}
	st.MilliCPU = n.Status.Allocatable.Cpu().MilliValue()
	st.Memory = n.Status.Allocatable.Memory().Value()
	st.PodLimit = n.Status.Allocatable.Pods().Value()
	for _, p := range s.PodsOn(n.Name) {
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		st.Pods++
		r := RequestsOf(p)
		st.MilliCPURequested += r.MilliCPU
		st.MemoryRequested += r.Bytes
	}
	if u, ok := s.Usage.Node(n.Name).Last(); ok {
		st.MilliCPUUsed, st.MemoryUsed, st.Measured = int64(u.MilliCPU), u.Bytes(), true
	}
	st.conditions(n, now)
	if n.Spec.Unschedulable {
		st.Text += ",SchedulingDisabled"
		st.Level = max(st.Level, Warn)
		if st.Why == "" {
			st.Why = "cordoned: takes no new pods"
		}
	}
	if s.KL != nil {
		for _, k := range s.KL.Nodes {
			if k.Name == n.Name {
				st.KL, st.Connected = true, k.Connected
			}
		}
	}
	if running := s.KL != nil && (s.KL.Phase == cluster.PhaseReady || s.KL.Phase == cluster.PhaseDegraded); running && st.KL && !st.Connected && st.Level != Bad {
		st.Text, st.Level, st.Why = "Disconnected", Bad, "its tunnel is down: the node is off, dead or cut off, which Kubernetes takes a while to notice"
	}
	return st
}

func (st *NodeState) conditions(n *corev1.Node, now time.Time) {
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue:
			st.Text = "Ready"
			st.Level = max(Good, levelUnlessBad(st))
		case c.Type == corev1.NodeReady:
			st.Text, st.Level = "NotReady", Bad
			st.Why = "for " + span(now.Sub(c.LastTransitionTime.Time)) + ": " + firstSentence(c.Message)
			if c.Status == corev1.ConditionUnknown {
				st.Why = "its kubelet was last heard of " + span(now.Sub(c.LastHeartbeatTime.Time)) + " ago"
			}
		case c.Status == corev1.ConditionTrue && st.Why == "":
			st.Why = string(c.Type) + ": " + firstSentence(c.Message)
		}
	}
	if st.Level == Good && st.Why != "" {
		st.Level = Warn
	}
}

// levelUnlessBad returns the level so far, but not the Bad that a node has before its Ready condition is seen.
func levelUnlessBad(st *NodeState) Level {
	if st.Text == "Ready" && st.Level != Bad {
		return st.Level
	}
	return Good
}

func roles(n *corev1.Node) string {
	var out []string
	for k := range n.Labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok {
			out = append(out, role)
		}
	}
	if cluster.IsSimulated(n.Labels) {
		out = append(out, "simulated")
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// Resources is an amount of CPU and memory.
type Resources struct{ MilliCPU, Bytes int64 }

// RequestsOf returns the sum of what a pod's containers request, as the scheduler counts it: with sidecars, and with other init
// containers only as far as they need more than the rest.
func RequestsOf(p *corev1.Pod) Resources {
	return resources(p, func(c *corev1.Container) corev1.ResourceList { return c.Resources.Requests })
}

// LimitsOf returns the sum of the limits of a pod's containers. A container without a limit counts as zero.
func LimitsOf(p *corev1.Pod) Resources {
	return resources(p, func(c *corev1.Container) corev1.ResourceList { return c.Resources.Limits })
}

func resources(p *corev1.Pod, of func(*corev1.Container) corev1.ResourceList) Resources {
	var sum, peak Resources
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		l := of(c)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sum.MilliCPU += l.Cpu().MilliValue()
			sum.Bytes += l.Memory().Value()
			continue
		}
		peak.MilliCPU = max(peak.MilliCPU, sum.MilliCPU+l.Cpu().MilliValue())
		peak.Bytes = max(peak.Bytes, sum.Bytes+l.Memory().Value())
	}
	for i := range p.Spec.Containers {
		l := of(&p.Spec.Containers[i])
		sum.MilliCPU += l.Cpu().MilliValue()
		sum.Bytes += l.Memory().Value()
	}
	return Resources{max(sum.MilliCPU, peak.MilliCPU), max(sum.Bytes, peak.Bytes)}
}

// natural compares names, and the numbers in them by value.
func natural(a, b string) int {
	for a != "" && b != "" {
		i, j := digits(a), digits(b)
		if i > 0 && j > 0 {
			x, y := strings.TrimLeft(a[:i], "0"), strings.TrimLeft(b[:j], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if x != y {
				return strings.Compare(x, y)
			}
			a, b = a[i:], b[j:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
