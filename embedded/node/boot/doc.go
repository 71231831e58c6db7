// Package boot turns a fresh container into a machine that containerd and a kubelet accept, and keeps its programs
// running as PID 1 does. It uses the standard library alone, so that kl-init stays small.
//
//	machine := boot.Machine{Root: "/", Kernel: boot.Linux{}, Logger: log}
//	facts, err := machine.Prepare() // mounts, cgroups, devices, sysctls, resolv.conf
//	…
//	init := boot.Supervisor{Processes: boot.NewProcesses(), Programs: programs, Logger: log}
//	err = init.Run(ctx) // until ctx is done and nothing runs any more
//	machine.Release()
//
// Everything below Machine.Root is plain files, so tests prepare a directory; what needs a kernel goes through [Kernel].
package boot
