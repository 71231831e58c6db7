// Command kl-init is PID 1 of a node: it prepares the container, runs containerd and the node's program, reaps orphans, and
// stops everything on SIGTERM.
//
//	kl-init                          # in a container with kl's node file system
//	kl-init listen ADDRESS PROGRAM … # in a pod: listens, and becomes the program, see listen
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/klkube/kl/embedded/node/boot"
)

const (
	engine     = "/usr/local/bin/kl-engine"
	nodeConfig = "/kl/node/node.json"
	logDir     = "/kl/node/logs"
	certDirs   = "/etc/ssl/certs:/kl/node/certs" // of public certificate authorities, and of those that the machine trusts
	maxLog     = 8 << 20                         // bytes in one log file; two are kept
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var err error
	if len(os.Args) > 1 && os.Args[1] == "listen" {
		err = listen(os.Args[2:])
	} else {
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kl-init:", err)
		os.Exit(1)
	}
}

// run prepares the container and supervises its programs until ctx is done.
func run(ctx context.Context) error {
	if os.Getpid() != 1 {
		return errors.New("start node: kl-init must be PID 1 of a container")
	}
	if err := os.MkdirAll(logDir, 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	initLog, err := boot.OpenLog(filepath.Join(logDir, "init.log"), maxLog)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer initLog.Close()
	log := slog.New(slog.NewTextHandler(io.MultiWriter(os.Stderr, initLog), nil))

	gateway, err := readGateway(nodeConfig)
	if err != nil {
		return fmt.Errorf("read %s: %w", nodeConfig, err)
	}
	machine := boot.Machine{Root: "/", Kernel: boot.Linux{}, Gateway: gateway, Logger: log}
	facts, err := machine.Prepare()
	if err != nil {
		return fmt.Errorf("prepare machine: %w", err)
	}
	log.Info("prepared machine", "cgroups", facts.CgroupVersion, "restrictOOMScoreAdj", facts.RestrictOOMScoreAdj)

	programs, err := programs()
	if err != nil {
		return err
	}
	reaping, stopReaping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReaping()
	supervisor := boot.Supervisor{Processes: boot.NewChildren(reaping), Programs: programs, Logger: log}
	return errors.Join(supervisor.Run(ctx), machine.Release())
}

// containerdRole is the role of kl-engine that pulls images.
const containerdRole = "containerd"

// programs are the programs of a node. They start at the same time, and each waits for what it needs; they stop in reverse
// order.
func programs() ([]boot.Program, error) {
	var programs []boot.Program
	for _, role := range []string{containerdRole, "node"} {
		file, err := boot.OpenLog(filepath.Join(logDir, role+".log"), maxLog)
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		out, _, err := file.Pipe() // stays open until kl-init ends
		if err != nil {
			return nil, fmt.Errorf("pipe log: %w", err)
		}
		programs = append(programs, boot.Program{
			Name: role, Path: engine, Args: []string{role}, Env: environment(role), Output: out,
		})
	}
	return programs, nil
}

// environment is the environment of a program. PATH is set here because an imported image has none. A proxy and the machine's
// certificate authorities are for images that containerd pulls, and for nothing in the cluster.
func environment(role string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	names := []string{"TZ"}
	if role == containerdRole {
		env = append(env, "SSL_CERT_DIR="+certDirs)
		names = append(names, "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
	}
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// readGateway reads the only field of node.json that kl-init uses. The node's program checks the others.
func readGateway(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var config struct {
		Gateway string `json:"gateway"`
	}
	err = json.Unmarshal(data, &config)
	return config.Gateway, err
}
