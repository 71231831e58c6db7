// Package cmd is the command line of kl, a file a command. A command is a thin cobra shell around a plain function that
// takes a context, the env and what the flags filled in; package cluster does the work.
//
//	code := cmd.Main(ctx, cmd.Env{Out: os.Stdout, Err: os.Stderr, Home: home, Drivers: drivers}, os.Args[1:])
package cmd
