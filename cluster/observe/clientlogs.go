package observe

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"k8s.io/klog/v2"
)

// clientLogs is where client-go logs. klog has one logger for the whole process, and goroutines of a session that has ended may still
// read it, so it is set once, and what it leads to is exchanged.
type clientLogs struct {
	once sync.Once
	to   atomic.Pointer[slog.Logger]
}

var logsOfClients clientLogs //nolint:gochecknoglobals // as klog's logger is

// LogClients sends what client-go logs to log, not to the terminal. The last call counts, for the whole process.
func LogClients(log *slog.Logger) {
	logsOfClients.to.Store(log)
	logsOfClients.once.Do(func() { klog.SetSlogLogger(slog.New(clientHandler{})) })
}

// clientHandler is the handler of the logger that LogClients got last, with what was added to it.
type clientHandler struct {
	add func(slog.Handler) slog.Handler // nil adds nothing
}

var _ slog.Handler = clientHandler{}

func (c clientHandler) handler() slog.Handler {
	h := logsOfClients.to.Load().Handler()
	if c.add != nil {
		h = c.add(h)
	}
	return h
}

func (c clientHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return logsOfClients.to.Load().Handler().Enabled(ctx, level)
}

func (c clientHandler) Handle(ctx context.Context, r slog.Record) error {
	return c.handler().Handle(ctx, r)
}

func (c clientHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return c.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (c clientHandler) WithGroup(name string) slog.Handler {
	return c.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (c clientHandler) with(more func(slog.Handler) slog.Handler) clientHandler {
	before := c.add
	if before == nil {
		return clientHandler{add: more}
	}
	return clientHandler{add: func(h slog.Handler) slog.Handler { return more(before(h)) }}
}
