package policy

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The node agent's HTTP API, reached through the control plane at /v1/nodes/{node}/v1/policy/…:
//
//	GET counters           → Counters
//	GET denials[?watch=1]  → Denial documents, a line each; with watch new ones as they happen
//
// Both are those of the node's pods.
const (
	CountersPath = "/v1/policy/counters"
	DenialsPath  = "/v1/policy/denials"
)

// Counters is what a node has counted since its agent started.
type Counters struct {
	Node     string        `json:"node"`
	Policies []Counter     `json:"policies"`
	Pairs    []PairCounter `json:"pairs"`
	Unknown  uint64        `json:"unknownPackets"` // dropped packets of pods that had no rules yet
	Table    TableStats    `json:"table"`
	Problems []string      `json:"problems,omitempty"` // see Model.Problems
}

// Counter counts what a policy did. Denied packets are counted for every policy that isolates the pod.
type Counter struct {
	Policy    string    `json:"policy"` // namespace/name
	Direction Direction `json:"direction"`
	Allowed   uint64    `json:"allowedConnections"`
	Denied    uint64    `json:"deniedPackets"`
}

// PairCounter counts the connections between two ends. The kernel logs at most 50 connections a second for each policy, so a
// busy pair has more than are counted here. Pairs without connections for a long time are dropped.
type PairCounter struct {
	Direction Direction       `json:"direction"`
	From      string          `json:"from"`
	To        string          `json:"to"`
	Protocol  corev1.Protocol `json:"protocol"`
	Port      uint16          `json:"port"`
	Policies  []string        `json:"policies,omitempty"` // the one that allows, or all that isolate
	Allowed   uint64          `json:"allowedConnections"`
	Denied    uint64          `json:"deniedConnections"`
	Last      time.Time       `json:"last"`
}

// Denial is a connection that was denied.
type Denial struct {
	Seq       uint64          `json:"seq"` // increases by one with each denial of a node; starts over when its agent restarts
	Time      time.Time       `json:"time"`
	Node      string          `json:"node"`
	Direction Direction       `json:"direction"` // which side denied it
	From      string          `json:"from"`      // as in Verdict
	To        string          `json:"to"`
	FromAddr  netip.Addr      `json:"fromAddr"`
	ToAddr    netip.Addr      `json:"toAddr"`
	Protocol  corev1.Protocol `json:"protocol"`
	Port      uint16          `json:"port"`
	Policies  []string        `json:"policies,omitempty"` // that isolate the pod
	Reason    string          `json:"reason"`             // for people
	Packets   uint64          `json:"packets"`            // with the retries so far
}

// TableStats describes the packet filter of a node.
type TableStats struct {
	Rules         int     `json:"rules"`
	Elements      int     `json:"elements"` // of sets and maps
	Chains        int     `json:"chains"`
	Sets          int     `json:"sets"`
	Applies       int     `json:"applies"`     // transactions since the agent started
	LastApply     float64 `json:"lastApply"`   // seconds the last transaction took
	LastCompile   float64 `json:"lastCompile"` // seconds from objects to rules
	LastLatency   float64 `json:"lastLatency"` // seconds from seeing the change to having it enforced
	LogsLost      uint64  `json:"logsLost"`    // log messages the kernel could not deliver
	LastError     string  `json:"lastError,omitempty"`
	LogsAvailable bool    `json:"logsAvailable"` // false if the kernel has no nflog: then there are counters, but no denials and pairs
}
