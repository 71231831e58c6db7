package observe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/klkube/kl/cluster/statefile"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"
)

// AuditEntry is one finished request in the API server's audit log.
type AuditEntry struct {
	Time     time.Time
	User     string
	Verb     string
	Resource string // pods, deployments/scale, or the path of a request that names no resource
	Object   string // namespace/name
	Code     int
	Source   string // the client's address
	Agent    string // the client's program
	Decision string // allow or forbid
	Latency  time.Duration
	Raw      string // the line itself
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

// ParseAudit parses a line of an audit log. ok is false if the line is not an audit event, or not the last one of its request.
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
			Resource, Subresource, Namespace, Name string
		} `json:"objectRef"`
		ResponseStatus struct {
			Code int `json:"code"`
		} `json:"responseStatus"`
		RequestReceived time.Time         `json:"requestReceivedTimestamp"`
		StageTime       time.Time         `json:"stageTimestamp"`
		Annotations     map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal([]byte(line), &raw); err != nil || raw.Verb == "" {
		return AuditEntry{}, false
	}
	if raw.Stage != "ResponseComplete" && raw.Stage != "Panic" {
		return AuditEntry{}, false
	}
	e = AuditEntry{Time: raw.StageTime, User: raw.User.Username, Verb: raw.Verb, Code: raw.ResponseStatus.Code,
		Decision: raw.Annotations["authorization.k8s.io/decision"], Latency: raw.StageTime.Sub(raw.RequestReceived), Raw: line}
	e.Resource, _, _ = strings.Cut(raw.RequestURI, "?")
	if o := raw.ObjectRef; o != nil && o.Resource != "" {
		e.Resource, e.Object = o.Resource, strings.Trim(o.Namespace+"/"+o.Name, "/")
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

// TailAudit passes the entries of an audit log to emit in batches: the last few hundred first, and then new ones as they are
// written, until ctx is done. It follows rotations, and waits for a file that does not exist yet.
func TailAudit(ctx context.Context, path string, emit func([]AuditEntry)) error {
	const (
		interval = 250 * time.Millisecond // a poll, because inotify does not work on every file system
		tail     = 512 << 10
	)
	var offset int64 = -1
	return wait.PollUntilContextCancel(ctx, interval, true, func(context.Context) (bool, error) {
		next, batch, err := readAudit(path, offset, tail)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("read audit log: %w", err)
		}
		offset = next
		if len(batch) > 0 {
			emit(batch)
		}
		return false, nil
	})
}

// readAudit reads complete lines from offset; -1 means the last tail bytes. A file shorter than offset was rotated.
func readAudit(path string, offset, tail int64) (int64, []AuditEntry, error) {
	f, err := statefile.Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return offset, nil, err
	}
	skip := false
	switch {
	case offset < 0:
		offset = max(0, info.Size()-tail)
		skip = offset > 0
	case info.Size() < offset:
		offset = 0
	case info.Size() == offset:
		return offset, nil, nil
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, nil, err
	}
	var out []AuditEntry
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := r.ReadString('\n')
		if err != nil { // an incomplete line is read next time
			return offset, out, nil
		}
		offset += int64(len(line))
		if skip {
			skip = false
			continue
		}
		if e, ok := ParseAudit(line); ok {
			out = append(out, e)
		}
	}
}

// AuditYAML returns the whole entry as YAML.
func AuditYAML(e AuditEntry) (string, error) {
	raw, err := yaml.JSONToYAML([]byte(e.Raw))
	if err != nil {
		return "", fmt.Errorf("decode audit entry: %w", err)
	}
	return string(raw), nil
}
