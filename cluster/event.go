package cluster

import "time"

// Autostart is how a cluster starts at boot.
type Autostart struct {
	Path string // the unit file
	Note string // one line: what prevents a start at boot, and what to do about it; empty if nothing does
}

// StepState is how far a step is.
type StepState string

// The states of a step.
const (
	StepStarted StepState = "Started"
	StepRunning StepState = "Running" // Message says something new
	StepDone    StepState = "Done"
	StepFailed  StepState = "Failed"
	StepWarning StepState = "Warning" // not a step: Message is advice
	StepNote    StepState = "Note"    // not a step: Message is information
)

// Event is a change in one step of up or down. Steps run side by side.
type Event struct {
	Time    time.Time `json:"time"`
	Step    string    `json:"step"`
	State   StepState `json:"state"`
	Seconds float64   `json:"seconds,omitempty"` // how long it took, once Done or Failed
	Message string    `json:"message,omitempty"`
}

// Step is a finished step: where the time went.
type Step struct {
	Name    string  `json:"name"`
	Began   float64 `json:"began"`   // seconds after the command began
	Seconds float64 `json:"seconds"` // how long it took
}

// The steps of up, as events name them; a node's step is its name.
const (
	StepPlan         = "plan" // a change that Apply is going to make
	StepPayload      = "payload"
	StepCertificates = "certificates"
	StepImage        = "node image"
	StepControlPlane = "control plane"
	StepAccount      = "default service account"
	StepDNS          = "cluster DNS"
	StepSimulated    = "simulated nodes"
	StepKubeconfig   = "kubeconfig"
	StepPreflight    = "preflight"
	StepLock         = "lock"
	StepCleanup      = "clean up"
	StepAutostart    = "start at boot"
	StepNodePrograms = "node programs" // kubelet, kube-proxy and agent of every node restart
	StepLabels       = "labels and taints"
	StepCheck        = "check"            // what is passed on to Kubernetes' components
	StepAddKey       = "add key"          // the API server learns to read under it
	StepUseKey       = "use key"          // the API server writes with it
	StepRewrite      = "rewrite"          // objects are written again, unchanged
	StepDropKey      = "drop key"         // the one that no object is stored under any more
	StepNewCerts     = "new certificates" // and keys, and with --cas authorities, beside those in use
	StepTrust        = "trust"            // every namespace and extension API server knows the authorities
	StepKubelets     = "kubelets"         // they have renewed their certificates
	StepKubeconfigs  = "kubeconfigs"      // that the cluster was merged into
	StepRestartDNS   = "restart DNS"      // CoreDNS reads authorities when it starts, and seldom after that
	StepStartAgain   = "start again"      // the control plane, which a command that was interrupted has stopped
	StepTokens       = "tokens"           // Secrets with tokens that the old key signed
	StepRollback     = "roll back"        // to the configuration before a change that failed

	StepStopControlPlane = "stop control plane" // before it starts with another configuration
)
