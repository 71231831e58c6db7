//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/storage"
)

// Server is the component of the node. All fields are required. Run may be called again once it has returned.
type Server struct {
	Node    string
	Version string // of kl
	Local   *Store
	Shared  *Store
	Disks   Disks
	Kubelet string // the kubelet's directory
	Logger  *slog.Logger
}

var _ lifecycle.Component = (*Server)(nil)

// Name implements lifecycle.Component.
func (s *Server) Name() cluster.ComponentName { return "storage" }

// Socket returns the path of the driver's CSI socket.
func (s *Server) Socket() string {
	return filepath.Join(s.Kubelet, "plugins", storage.Driver, "csi.sock")
}

// registrationSocket returns the path of the socket by which the kubelet discovers the driver.
func (s *Server) registrationSocket() string {
	return filepath.Join(s.Kubelet, "plugins_registry", storage.Driver+"-reg.sock")
}

// Forget removes the sockets that a killed process left behind when storage has been disabled since: the kubelet would keep
// calling them.
func Forget(kubelet string) error {
	s := &Server{Kubelet: kubelet}
	return errors.Join(os.RemoveAll(s.registrationSocket()), os.RemoveAll(filepath.Dir(s.Socket())))
}

// Run implements lifecycle.Component. It is ready when the sockets listen; the kubelet may start later.
func (s *Server) Run(ctx context.Context, ready func()) error {
	if err := os.MkdirAll(s.Disks.Dir, 0o755); err != nil {
		return err
	}
	driver := grpc.NewServer(grpc.UnaryInterceptor(s.log))
	csi.RegisterIdentityServer(driver, identity{server: s})
	csi.RegisterNodeServer(driver, &node{Server: s})
	registrar := grpc.NewServer()
	registration.RegisterRegistrationServer(registrar, registrant{server: s})
	group, ctx := errgroup.WithContext(ctx)
	// The driver listens first: the kubelet calls it as soon as it sees the registration socket.
	for _, server := range []struct {
		socket string
		grpc   *grpc.Server
	}{{s.Socket(), driver}, {s.registrationSocket(), registrar}} {
		l, err := listen(ctx, server.socket)
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		stop := context.AfterFunc(ctx, server.grpc.Stop)
		defer stop()
		defer server.grpc.Stop()
		group.Go(func() error { return server.grpc.Serve(l) })
	}
	for _, store := range s.stores() {
		store.copies.open()
		defer store.copies.close()
	}
	group.Go(func() error {
		for _, store := range s.stores() {
			if err := store.sweep(ctx); err != nil && ctx.Err() == nil {
				s.Logger.WarnContext(ctx, "cannot remove what an earlier run left", "dir", store.Dir, "err", err)
			}
		}
		<-ctx.Done()
		return ctx.Err()
	})
	ready()
	return group.Wait()
}

// listen creates a unix socket and replaces that of an earlier run.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

func (s *Server) log(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	answer, err := handler(ctx, request)
	if err != nil {
		s.Logger.WarnContext(ctx, "CSI call failed", "call", filepath.Base(info.FullMethod), "err", err)
	}
	return answer, err
}

// registrant is the kubelet's plugin registration service.
type registrant struct {
	registration.UnsafeRegistrationServer
	server *Server
}

// GetInfo implements the registration service.
func (r registrant) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: storage.Driver, Endpoint: r.server.Socket(), SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus implements the registration service.
func (r registrant) NotifyRegistrationStatus(ctx context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if status.PluginRegistered {
		r.server.Logger.InfoContext(ctx, "registered with the kubelet", "driver", storage.Driver)
	} else {
		r.server.Logger.ErrorContext(ctx, "the kubelet has refused the driver", "err", status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}
