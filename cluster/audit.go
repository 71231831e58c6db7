package cluster

// Audit is what the API server logs of requests, and where else the events go. The zero value is kl's own policy, and the log
// alone. Fields that name a file may hold its content instead, of more than one line.
type Audit struct {
	Policy  string       `json:"policy,omitempty"` // file of an audit.k8s.io/v1 Policy
	Webhook AuditWebhook `json:"webhook,omitzero"`
}

// AuditWebhook is a server that gets the events, in batches. The zero value is none. Its address may be that of a Service of
// the cluster: NAME.NAMESPACE.svc.
type AuditWebhook struct {
	URL          string `json:"url,omitempty"`          // http or https
	CA           string `json:"ca,omitempty"`           // file of the authorities that the server's certificate is checked with; this machine's if empty
	Kubeconfig   string `json:"kubeconfig,omitempty"`   // file with URL, authorities and credentials, in place of URL and CA
	BatchMaxWait string `json:"batchMaxWait,omitempty"` // duration; 30s if empty
	BatchMaxSize int    `json:"batchMaxSize,omitempty"` // number of events; 400 if 0
}

// Enabled reports whether there is a webhook.
func (w AuditWebhook) Enabled() bool { return w != AuditWebhook{} }
