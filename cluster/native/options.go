package native

import "log/slog"

// SuperviseCommand is the first argument of the re-executed program; the second one is the node's directory. A program that
// makes nodes calls [Supervise] before it does anything else:
//
//	if len(os.Args) == 3 && os.Args[1] == native.SuperviseCommand {
//		os.Exit(native.Supervise(ctx, os.Args[2]))
//	}
const SuperviseCommand = "supervise-node"

// Options configures a Driver.
type Options struct {
	Home   string       // absolute path; nodes are kept below it. Its file system must support overlays.
	Logger *slog.Logger // none if nil
	// Supervisor is a program that passes SuperviseCommand to Supervise; the running program itself if empty.
	Supervisor string
}
