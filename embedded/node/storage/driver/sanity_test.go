//go:build linux

package driver

import (
	"context"
	"errors"
	"flag"
	"net"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/klkube/kl/embedded/node/storage"
)

// notSanity says which parts of kubernetes-csi's suite do not apply, and why.
func notSanity() map[string]string {
	return map[string]string{
		"Controller Service [Controller Server]": "kl's control plane makes volumes over the nodes' API (storage.Agent), not as a CSI controller",
		"ListSnapshots [Controller Server]":      "there are no snapshots",
		"CreateSnapshot [Controller Server]":     "there are no snapshots",
		"DeleteSnapshot [Controller Server]":     "there are no snapshots",
		"ExpandVolume [Controller Server]":       "kl's control plane grows volumes over the nodes' API, in storage.Agent.Put",
		"ModifyVolume [Controller Server]":       "there is nothing of a volume to modify",
		"GroupController Service":                "there are no groups of volumes",
		"CreateVolumeGroupSnapshot":              "there are no snapshots",
		"GetVolumeGroupSnapshot":                 "there are no snapshots",
		"DeleteVolumeGroupSnapshot":              "there are no snapshots",
		"Node Service NodeStageVolume":           "nothing is staged",
		"Node Service NodeUnstageVolume":         "nothing is staged",
		"Node Service NodeExpandVolume":          "nothing is left for a node to do when a volume has grown",
		"Node Service NodeGetVolumeHealth":       "volumes have no condition of their own",
	}
}

// maker makes volumes for the suite as the control plane does, since the driver has no CSI controller service.
type maker struct {
	csi.UnimplementedControllerServer
	identity
	agent storage.Agent
}

// GetPluginCapabilities makes the suite create volumes.
func (m maker) GetPluginCapabilities(ctx context.Context, r *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	own, err := m.identity.GetPluginCapabilities(ctx, r)
	own.Capabilities = append(own.Capabilities, &csi.PluginCapability{Type: &csi.PluginCapability_Service_{
		Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE},
	}})
	return own, err
}

func (m maker) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{{
		Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{
			Type: csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		}},
	}}}, nil
}

func (m maker) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	v, err := m.agent.Put(ctx, storage.Volume{
		Kind: storage.NodeLocal, ID: r.GetName(), Size: r.GetCapacityRange().GetRequiredBytes(),
		Block: r.GetVolumeCapabilities()[0].GetBlock() != nil,
	})
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: r.GetName(), CapacityBytes: v.Size, VolumeContext: map[string]string{storage.KindKey: string(storage.NodeLocal)},
	}}, err
}

func (m maker) DeleteVolume(ctx context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	err := m.agent.Delete(ctx, storage.NodeLocal, r.GetVolumeId())
	if errors.Is(err, storage.ErrInUse) {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &csi.DeleteVolumeResponse{}, err
}

// TestSanity runs kubernetes-csi's suite on the driver, for file systems and for devices. It needs root.
func TestSanity(t *testing.T) {
	if n := flag.Lookup("test.count").Value.String(); n != "1" { // Ginkgo refuses it
		t.Skipf("THE CSI SANITY SUITE IS NOT RUN with -count=%s: it runs once a process", n)
	}
	probe := t.TempDir()
	if err := unix.Mount(probe, probe, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("THE CSI SANITY SUITE IS NOT RUN: cannot mount here: %v", err)
	}
	if err := unix.Unmount(probe, 0); err != nil {
		t.Fatal(err)
	}
	s, _, agent := serve(t)
	all := maker{agent: agent, identity: identity{server: s}}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(filepath.Dir(s.Kubelet), "all.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	csi.RegisterControllerServer(server, all)
	csi.RegisterIdentityServer(server, all)
	csi.RegisterNodeServer(server, &node{Server: s})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	accesses := []string{"mount"}
	if err := probeLoop(t); err == nil {
		accesses = append(accesses, "block")
	} else {
		t.Logf("BLOCK VOLUMES ARE NOT TESTED: they need the kernel's loop driver: %v", err)
	}
	for _, access := range accesses {
		config := sanity.NewTestConfig()
		config.Address = "unix://" + l.Addr().String()
		config.TargetPath, config.StagingPath = filepath.Join(t.TempDir(), "target"), filepath.Join(t.TempDir(), "staging")
		config.TestVolumeSize, config.TestVolumeAccessType = 1<<20, access
		t.Cleanup(sanity.GinkgoTest(&config).Finalize)
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.Succinct, reporter.NoColor = true, true
	for name, reason := range notSanity() {
		t.Logf("not run: %s: %s", name, reason)
		suite.SkipStrings = append(suite.SkipStrings, regexp.QuoteMeta(name))
	}
	ginkgo.ReportAfterSuite("count", func(report ginkgo.Report) {
		for _, spec := range report.SpecReports {
			if spec.State.Is(types.SpecStateSkipped) && spec.Failure.Message != "" { // by the suite, at run time
				t.Errorf("%s was skipped: %s", spec.FullText(), spec.Failure.Message)
			}
		}
		const each = 17 // specs for one kind of access
		if passed := report.SpecReports.CountWithState(types.SpecStatePassed); passed < each*len(accesses) {
			t.Errorf("%d specs passed, want at least %d", passed, each*len(accesses))
		}
	})
	ginkgo.RunSpecs(t, "CSI", suite, reporter)
}
