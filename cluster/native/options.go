package native

import "log/slog"

// SuperviseCommand is the first argument of the re-executed program; the second one is the node's directory. A program
// that makes nodes hands both to [Supervise] before it does anything else:
//
//	if len(os.Args) == 3 && os.Args[1] == native.SuperviseCommand {
//		os.Exit(native.Supervise(ctx, os.Args[2]))
//	}
const SuperviseCommand = "supervise-node"

// Options configures a Driver.
type Options struct {
	Home   string       // absolute; nodes are kept below. It must be on a file system that overlays can be on.
	Logger *slog.Logger // none if nil
	// Supervisor is a program that passes SuperviseCommand to Supervise: this program itself if empty.
	Supervisor string
}
