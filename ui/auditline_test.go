package ui

import (
	"testing"
	"time"

	"github.com/klkube/kl/cluster/observe"
)

func TestAuditLines(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 15e6, time.UTC)
	e := observe.AuditEntry{Time: at, User: "ann\x1b[2J", Verb: "delete", Resource: "pods", Namespace: "shop", Object: "shop/web", Code: 403, Source: "::1", Agent: "curl", Latency: 3 * time.Second}
	list := observe.AuditEntry{Time: at, User: "bob", Verb: "list", Resource: "pods", Namespace: "shop", Object: "shop", Code: 200}
	own := observe.AuditEntry{Time: at, User: "bob", Verb: "get", Resource: "namespaces", Namespace: "shop", Object: "shop", Code: 404}
	for _, tt := range []struct {
		colour bool
		entry  observe.AuditEntry
		want   string
	}{
		{false, e, "2026-05-01 12:00:00.015  ann  delete  pods shop/web  403  3.0s  ::1 curl"},
		{false, list, "2026-05-01 12:00:00.015  bob  list  pods shop/  200  0.0ms  "},
		{false, own, "2026-05-01 12:00:00.015  bob  get  namespaces shop  404  0.0ms  "},
		{true, e, "\x1b[90m2026-05-01 12:00:00.015\x1b[0m  \x1b[34mann\x1b[0m  \x1b[1mdelete\x1b[0m  pods shop/web  \x1b[31m403\x1b[0m  \x1b[90m3.0s\x1b[0m  \x1b[90m::1 curl\x1b[0m"},
	} {
		if got := AuditLines(tt.colour, time.UTC)(tt.entry); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
}
