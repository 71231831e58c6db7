// Package cmd is the command line of kl, with one file per command. A command is a thin cobra wrapper around a plain
// function that takes a context, the env and the values of the flags; package cluster/host does the work.
//
//	code := cmd.Main(ctx, cmd.Env{Out: os.Stdout, Err: os.Stderr, Home: home, Drivers: drivers}, os.Args[1:])
package cmd
