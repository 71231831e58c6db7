package policy

import corev1 "k8s.io/api/core/v1"

// Matrix is which pods can connect to which on one port: Cells[i][j] is the connection from Pods[i] to Pods[j].
type Matrix struct {
	Pods     []*Pod
	Protocol corev1.Protocol
	Port     uint16
	Cells    [][]Cell
}

// Cell is one connection of a matrix.
type Cell struct {
	Allowed bool
	// Decided names the policies that allow it, egress before ingress, or all that isolate the pod on the side that denies it.
	// It is empty if no policy applies.
	Decided []string
}

// Matrix judges the connections between all pairs of pods on a port; of all pods of the model if pods is nil.
func (m *Model) Matrix(pods []*Pod, proto corev1.Protocol, port uint16) Matrix {
	if pods == nil {
		pods = m.Pods
	}
	x := Matrix{Pods: pods, Protocol: proto, Port: port, Cells: make([][]Cell, len(pods))}
	for i, from := range pods {
		x.Cells[i] = make([]Cell, len(pods))
		for j, to := range pods {
			x.Cells[i][j] = cell(m.Verdict(from.Addrs[0], to.Addrs[0], proto, port))
		}
	}
	return x
}

func cell(v Verdict) Cell {
	if _, d, denied := v.Denied(); denied {
		return Cell{Decided: d.Isolated}
	}
	c := Cell{Allowed: true}
	for _, d := range []Decision{v.Egress, v.Ingress} {
		if d.Policy != "" {
			c.Decided = append(c.Decided, d.Policy)
		}
	}
	return c
}
