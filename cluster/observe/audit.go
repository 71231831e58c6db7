package observe

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// AuditEntry is one stage of a request in the API server's audit log.
type AuditEntry struct {
	Time      time.Time
	Stage     string // RequestReceived, ResponseStarted, ResponseComplete or Panic
	User      string
	Verb      string
	Group     string // API group of the resource
	Resource  string // pods, deployments/scale, or the path of a request that names no resource
	Namespace string // of the object, or of those that were listed
	Object    string // namespace/name
	Code      int
	Source    string // the client's address
	Agent     string // the client's program
	Decision  string // allow or forbid
	Latency   time.Duration
	Raw       string // the line itself
}

// Denied reports whether the request was rejected for lack of rights.
func (e AuditEntry) Denied() bool { return e.Code == 401 || e.Code == 403 || e.Decision == "forbid" }

// Change reports whether the request was to change something.
func (e AuditEntry) Change() bool {
	switch e.Verb {
	case "get", "list", "watch", "head", "options":
		return false
	}
	return true
}

// Finished reports whether the entry is the last of its request.
func (e AuditEntry) Finished() bool { return e.Stage == "ResponseComplete" || e.Stage == "Panic" }

// auditBegin is how every event of an audit log begins.
const auditBegin = `{"kind":"Event","apiVersion":"audit.k8s.io/`

// ParseAudit parses a line of an audit log. ok is false if there is no audit event in it. After an event that was cut off
// when the machine died, the next one stands on the same line.
func ParseAudit(line string) (e AuditEntry, ok bool) {
	var raw struct {
		Stage      string `json:"stage"`
		Verb       string `json:"verb"`
		RequestURI string `json:"requestURI"`
		UserAgent  string `json:"userAgent"`
		User       struct {
			Username string `json:"username"`
		} `json:"user"`
		SourceIPs []string `json:"sourceIPs"`
		ObjectRef *struct {
			APIGroup, Resource, Subresource, Namespace, Name string
		} `json:"objectRef"`
		ResponseStatus struct {
			Code int `json:"code"`
		} `json:"responseStatus"`
		RequestReceived time.Time         `json:"requestReceivedTimestamp"`
		StageTime       time.Time         `json:"stageTimestamp"`
		Annotations     map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal([]byte(line), &raw); err != nil || raw.Verb == "" || raw.Stage == "" {
		if at := strings.LastIndex(line, auditBegin); at > 0 {
			return ParseAudit(line[at:])
		}
		return AuditEntry{}, false
	}
	e = AuditEntry{Time: raw.StageTime, Stage: raw.Stage, User: raw.User.Username, Verb: raw.Verb, Code: raw.ResponseStatus.Code,
		Decision: raw.Annotations["authorization.k8s.io/decision"], Latency: raw.StageTime.Sub(raw.RequestReceived), Raw: line}
	e.Resource, _, _ = strings.Cut(raw.RequestURI, "?")
	if o := raw.ObjectRef; o != nil && o.Resource != "" {
		e.Group, e.Resource, e.Namespace, e.Object = o.APIGroup, o.Resource, o.Namespace, strings.Trim(o.Namespace+"/"+o.Name, "/")
		if o.Subresource != "" {
			e.Resource += "/" + o.Subresource
		}
	}
	if len(raw.SourceIPs) > 0 {
		e.Source = raw.SourceIPs[0]
	}
	e.Agent, _, _ = strings.Cut(raw.UserAgent, "/")
	return e, true
}

// AuditYAML returns the whole entry as YAML.
func AuditYAML(e AuditEntry) (string, error) {
	raw, err := yaml.JSONToYAML([]byte(e.Raw))
	if err != nil {
		return "", fmt.Errorf("decode audit entry: %w", err)
	}
	return string(raw), nil
}
