package cluster

import (
	"cmp"
	"time"
)

// Phase sums up a control plane.
type Phase string

// The phases of a control plane.
const (
	PhaseStarting Phase = "Starting" // components are coming up
	PhaseReady    Phase = "Ready"    // every component serves, and the administrator has rights
	PhaseDegraded Phase = "Degraded" // it was ready, and a component is being restarted
	PhaseFailed   Phase = "Failed"   // it cannot go on: see Reason
	PhaseStopping Phase = "Stopping"
	PhasePaused   Phase = "Paused"  // frozen by kl pause: never in the stream: readers of the socket derive it
	PhaseMoved    Phase = "Moved"   // the cluster's directory was moved to another home: derived as well, see MovedFrom
	PhaseDamaged  Phase = "Damaged" // no process, and its files cannot be read: derived as well
	PhaseUnknown  Phase = "Unknown" // its files may not be read: derived as well
	PhaseStopped  Phase = "Stopped" // no process, because it was told to end: never in the stream: readers of the socket derive it
	PhaseCrashed  Phase = "Crashed" // no process, because it died: see Supervision.Down; never in the stream either
)

// Status is what a control plane says about itself: GET /v1/status on Layout.StatusSocket is one as JSON;
// GET /v1/status?watch=1 is a stream of them, one JSON document a line, a new line whenever something changed.
type Status struct {
	Cluster    string            `json:"cluster"`
	PID        int               `json:"pid"`
	Started    time.Time         `json:"started"`
	Version    string            `json:"version"`    // kl's
	Kubernetes string            `json:"kubernetes"` // v1.36.3
	Phase      Phase             `json:"phase"`
	Reason     string            `json:"reason,omitempty"`
	Components []ComponentStatus `json:"components"`
	Nodes      []NodeStatus      `json:"nodes"` // real ones
	Simulated  SimulatedStatus   `json:"simulated,omitzero"`
	Ready      Readiness         `json:"ready"`
	Moments    []Moment          `json:"moments,omitempty"`     // of this start, as they came
	Memory     int64             `json:"memoryBytes,omitempty"` // anonymous resident memory of the process
}

// SimulatedStatus counts the simulated nodes: there may be thousands, and they are all alike.
type SimulatedStatus struct {
	Nodes int `json:"nodes"`
	Ready int `json:"ready"`
}

// Readiness is what `kl up` waits for.
type Readiness struct {
	API                   bool `json:"api"`                   // /readyz answers ok
	DefaultServiceAccount bool `json:"defaultServiceAccount"` // default/default exists
	DNS                   bool `json:"dns"`                   // kube-dns answered a lookup of kubernetes.default
}

// Moment is when something happened for the first time since the control plane started, as it saw it.
type Moment struct {
	Name string  `json:"name"`
	At   float64 `json:"at"` // seconds from process start
}

// The moments of the cluster's DNS. Each of a pod is that of the first of its pods.
const (
	DNSDeployment = "Deployment applied"
	DNSPod        = "pod created"
	DNSScheduled  = "pod scheduled"
	DNSRunning    = "pod running"
	DNSReady      = "pod ready"
	DNSAnswers    = "DNS answers"
)

// ComponentState is the state of one part of the control plane.
type ComponentState string

// The states of a component.
const (
	ComponentWaiting    ComponentState = "Waiting" // for what it depends on
	ComponentStarting   ComponentState = "Starting"
	ComponentServing    ComponentState = "Serving"
	ComponentRestarting ComponentState = "Restarting"
	ComponentFailed     ComponentState = "Failed"
	ComponentStopped    ComponentState = "Stopped"
)

// ComponentStatus is one part of the control plane: etcd, kube-apiserver, …
type ComponentStatus struct {
	Name     ComponentName   `json:"name"`
	State    ComponentState  `json:"state"`
	Since    time.Time       `json:"since"`
	Began    float64         `json:"began,omitempty"` // seconds from process start to its start
	Ready    float64         `json:"ready,omitempty"` // seconds from process start to first serving
	Restarts int             `json:"restarts,omitempty"`
	Needs    []ComponentName `json:"needs,omitempty"` // what it waits for before it starts
	Error    string          `json:"error,omitempty"`
	LogFile  string          `json:"logFile,omitempty"`
}

// NodeProgram is the answer of a node's agent to GET /v1/components: the parts of kubelet, kube-proxy and agent, which are one process.
type NodeProgram struct {
	Started    time.Time         `json:"started"` // their times count from it
	Components []ComponentStatus `json:"components"`
}

// NodeStatus is a node as the control plane sees it.
type NodeStatus struct {
	Name       string `json:"name"`
	IP         string `json:"ip,omitempty"`
	Connected  bool   `json:"connected"`  // its tunnel is up
	Ready      bool   `json:"ready"`      // its Ready condition is True
	Registered bool   `json:"registered"` // its Node object exists
	Reason     string `json:"reason,omitempty"`
	Kubelet    string `json:"kubelet,omitempty"` // version
}

// ImageParts is what a node needs to have an image whose layers it has: everything but their content.
type ImageParts struct {
	Names []string  `json:"names"`          // as container runtimes write them; empty for an image that has a digest alone
	Since time.Time `json:"since,omitzero"` // when it got its names where it is from; zero for now
	Blobs []Blob    `json:"blobs"`          // first its index or manifest, then what that names for one platform, down to the configuration

	Source string `json:"source,omitempty"` // see Image
}

// Blob is a JSON document of an image.
type Blob struct {
	MediaType string `json:"mediaType"`
	Data      []byte `json:"data"`
}

// Image is one image of a node.
type Image struct {
	Names  []string `json:"names"`            // tags and digests
	Digest string   `json:"digest"`           // of the manifest
	Config string   `json:"config,omitempty"` // digest of the configuration: the image's ID for Docker and the CRI
	Size   int64    `json:"size"`             // bytes
	// Source is where the node has it from, in words for a person: "file app.tar". It is empty if that is not known.
	Source string     `json:"source,omitempty"`
	Uses   []ImageUse `json:"uses,omitempty"` // by containers of the node, also by those that have ended
}

// ID is what Docker and the CRI call the image, or else its digest.
func (i Image) ID() string { return cmp.Or(i.Config, i.Digest) }

// ImageUse is a pod that has containers of an image.
type ImageUse struct {
	Pod  string `json:"pod"`  // namespace/name
	Name string `json:"name"` // the image's, as the pod has it
}

// PauseImage is the image that every pod needs, and that nodes bring along.
const PauseImage = "kl.local/pause:1"
