package cluster

// The marks of a simulated node, as kwok documents them.
const (
	SimulatedLabel      = "type"
	SimulatedValue      = "kwok" // of SimulatedLabel
	SimulatedAnnotation = "kwok.x-k8s.io/node"
	SimulatedTaint      = SimulatedAnnotation // the key: only pods that tolerate it land on a simulated node
	SimulatedMark       = "fake"              // value of the annotation and of the taint

	// Label selectors of the API for either kind of node.
	SimulatedNodes = SimulatedLabel + "=" + SimulatedValue
	RealNodes      = SimulatedLabel + "!=" + SimulatedValue
)

// IsSimulated reports whether a Node with these labels is simulated: kwok keeps it Ready, and there is no machine and no
// kubelet behind it.
func IsSimulated(labels map[string]string) bool { return labels[SimulatedLabel] == SimulatedValue }
