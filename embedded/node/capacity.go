package node

import (
	"context"

	cadvisorapi "github.com/google/cadvisor/lib/model"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
	"k8s.io/kubernetes/pkg/kubelet/cm"
)

// capacity is the size of a node that is smaller than its machine. A container with limits still sees the whole machine in
// /proc, so the kubelet has to be told: capacity, allocatable and the limits of the pods' cgroup follow from it.
type capacity struct {
	cores       int   // whole cores, since the kubelet counts no others; 0 means the machine's
	reserved    int64 // millicores of the last core that do not belong to the node
	memoryBytes int64 // 0 means the machine's
}

func newCapacity(milliCPUs, memoryBytes int64) capacity {
	cores := (milliCPUs + 999) / 1000
	return capacity{cores: int(cores), reserved: cores*1000 - milliCPUs, memoryBytes: memoryBytes}
}

// limit returns the machine reduced to the node's size.
func (c capacity) limit(machine cadvisorapi.MachineInfo) cadvisorapi.MachineInfo {
	if c.cores > 0 && c.cores < machine.NumCores {
		machine.NumCores = c.cores
	}
	if c.memoryBytes > 0 && uint64(c.memoryBytes) < machine.MemoryCapacity {
		machine.MemoryCapacity = uint64(c.memoryBytes)
	}
	return machine
}

// limitedMachine is the kubelet's view of the machine with the node's size.
type limitedMachine struct {
	cadvisor.Interface
	capacity capacity
}

// MachineInfo implements cadvisor.Interface.
func (l limitedMachine) MachineInfo(logger klog.Logger) (*cadvisorapi.MachineInfo, error) {
	machine, err := l.Interface.MachineInfo(logger)
	if err != nil {
		return nil, err
	}
	limited := l.capacity.limit(*machine)
	return &limited, nil
}

// ContainerInfoV2 implements cadvisor.Interface. The kubelet evicts pods by the node's free memory, which it computes from
// the memory limit of the root container.
func (l limitedMachine) ContainerInfoV2(name string, options cadvisorapi.RequestOptions) (map[string]cadvisorapi.ContainerInfo, error) {
	infos, err := l.Interface.ContainerInfoV2(name, options)
	if err != nil {
		return nil, err
	}
	if root, ok := infos["/"]; ok && l.capacity.memoryBytes > 0 && root.Spec.HasMemory {
		root.Spec.Memory.Limit = min(root.Spec.Memory.Limit, uint64(l.capacity.memoryBytes))
		infos["/"] = root
	}
	return infos, nil
}

// newMachine returns the kubelet's source of machine facts and statistics, made as the kubelet itself would.
func newMachine(ctx context.Context, s *options.KubeletServer, c capacity) (cadvisor.Interface, error) {
	roots := []string{cm.NodeAllocatableRoot(s.CgroupRoot, s.CgroupsPerQOS, s.CgroupDriver)}
	fromCRI := utilfeature.DefaultFeatureGate.Enabled(features.PodAndContainerStatsFromCRI) // which containerd implements
	ca, err := cadvisor.New(klog.FromContext(ctx), cadvisor.NewImageFsInfoProvider(s.ContainerRuntimeEndpoint), s.RootDirectory,
		roots, cadvisor.UsingLegacyCadvisorStats(s.ContainerRuntimeEndpoint), s.LocalStorageCapacityIsolation, fromCRI)
	if err != nil {
		return nil, err
	}
	if c.cores == 0 && c.memoryBytes == 0 {
		return ca, nil
	}
	return limitedMachine{Interface: ca, capacity: c}, nil
}
