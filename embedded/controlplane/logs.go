package controlplane

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/klog/v2"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// logs holds the loggers of the upstream components. Each has a file, rotated at 10 MB with one old file.
type logs struct {
	files map[cluster.ComponentName]*lumberjack.Logger
	level slog.Level
	zap   *zap.Logger
}

// openLogs directs klog, zap and grpc to files. It sets the loggers of the process that klog and grpc have, so it is called
// once.
func openLogs(l cluster.Layout, spec cluster.Spec) (*logs, error) {
	verbosity := 0
	for component, args := range spec.Kubernetes.ExtraArgs {
		v, ok := args["v"]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, errors.New("argument v of " + component + " is not a number")
		}
		verbosity = max(verbosity, n)
	}
	o := &logs{files: map[cluster.ComponentName]*lumberjack.Logger{}, level: slog.Level(-verbosity)}
	for _, name := range []cluster.ComponentName{cluster.Etcd, cluster.KubeAPIServer, cluster.KubeControllerManager, cluster.KubeScheduler} {
		o.files[name] = &lumberjack.Logger{Filename: l.LogFile(name), MaxSize: 10, MaxBackups: 1}
	}
	klogFlags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(klogFlags)
	if err := klogFlags.Set("v", strconv.Itoa(verbosity)); err != nil {
		return nil, err
	}
	klog.SetLoggerWithOptions(o.kubernetes(cluster.KubeAPIServer), klog.ContextualLogger(true))

	encoder := zapcore.NewConsoleEncoder(zapEncoding())
	o.zap = zap.New(zapcore.NewCore(encoder, zapcore.AddSync(o.files[cluster.Etcd]), zapcore.WarnLevel), zap.WithFatalHook(fatal{l}))
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, o.files[cluster.Etcd], o.files[cluster.Etcd]))
	return o, nil
}

// kubernetes returns the logger for the context of a component.
func (o *logs) kubernetes(component cluster.ComponentName) logr.Logger {
	return logr.FromSlogHandler(slog.NewTextHandler(o.files[component], &slog.HandlerOptions{Level: o.level}))
}

func (o *logs) close() error {
	errs := []error{o.zap.Sync()}
	for _, f := range o.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// fatal ends the process when etcd cannot go on, as when the disk is full, and leaves the reason behind for its supervisor.
type fatal struct{ layout cluster.Layout }

// OnWrite implements zapcore.CheckWriteHook.
func (f fatal) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	reason := "etcd: " + entry.Message
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			reason += ": " + err.Error()
		}
	}
	fmt.Fprintln(os.Stderr, "fatal error:", reason)
	_ = statefile.Write(f.layout.FailedFile(), []byte(reason+"\n"), 0o600) // fails if the disk is full, which the supervisor sees
	zapcore.WriteThenFatal.OnWrite(entry, fields)
}

// zapEncoding makes etcd's lines look like the other components'.
func zapEncoding() zapcore.EncoderConfig {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeLevel = zapcore.CapitalLevelEncoder
	return c
}
