// Package boot prepares a fresh container so that containerd and a kubelet can run in it ([Machine]), and runs its programs as
// PID 1 ([Supervisor]). It uses only the standard library, so that kl-init stays small.
//
// Machine works on plain files below Machine.Root, so that tests can use a directory; what needs the kernel goes through
// [Kernel].
package boot
