package controlplane

import (
	"errors"
	"flag"
	"io"
	"log/slog"
	"strconv"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/klog/v2"

	"github.com/klkube/kl/cluster"
)

// logs holds the upstream components' loggers, each with a file of its own that is rotated: 10 MB and one old file.
type logs struct {
	files map[cluster.ComponentName]*lumberjack.Logger
	level slog.Level
	zap   *zap.Logger
}

// openLogs bridges klog, zap and grpc to files. klog and grpc have one logger a process; it is set here, once.
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
	o.zap = zap.New(zapcore.NewCore(encoder, zapcore.AddSync(o.files[cluster.Etcd]), zapcore.WarnLevel))
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, o.files[cluster.Etcd], o.files[cluster.Etcd]))
	return o, nil
}

// kubernetes is the logger that goes into the context of a component.
func (o *logs) kubernetes(component cluster.ComponentName) logr.Logger {
	return logr.FromSlogHandler(slog.NewTextHandler(o.files[component], &slog.HandlerOptions{Level: o.level}))
}

func (o *logs) close() {
	_ = o.zap.Sync()
	for _, f := range o.files {
		f.Close()
	}
}

// zapEncoding writes lines that look like the other components'.
func zapEncoding() zapcore.EncoderConfig {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeLevel = zapcore.CapitalLevelEncoder
	return c
}
