package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/klkube/kl/cmd"
)

// interrupts are signals that ask this process to end. The first one has the command clean up, the third ends the process, unless a
// command takes them for itself.
type interrupts struct {
	cancel context.CancelCauseFunc
	hup    bool // SIGHUP is one of them: not under nohup

	mu    sync.Mutex
	take  func(os.Signal) // nil: nobody takes them
	count int
}

// watchSignals has the first signal cancel a context.
func watchSignals(cancel context.CancelCauseFunc) *interrupts {
	i := &interrupts{cancel: cancel, hup: !signal.Ignored(syscall.SIGHUP)}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if i.hup {
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		for s := range signals {
			i.receive(s)
		}
	}()
	return i
}

func (i *interrupts) receive(s os.Signal) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.take != nil {
		i.take(s)
		return
	}
	i.count++
	switch i.count {
	case 1:
		i.cancel(cmd.ErrInterrupted) // the command cleans up
	case 2:
		fmt.Fprintln(os.Stderr, "kl: still cleaning up; once more leaves what there is for 'kl down'")
	default:
		os.Exit(130) // at once
	}
}

// pass gives all signals that ask for something to take, until restore is called: those that interrupt, and those that have no meaning to
// kl itself. take must not block.
func (i *interrupts) pass(take func(os.Signal)) (restore func()) {
	i.setTake(take)
	others := make(chan os.Signal, 8)
	signal.Notify(others, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-others:
				take(s)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(others)
		close(done)
		i.setTake(nil)
	}
}

func (i *interrupts) setTake(take func(os.Signal)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.take = take
}
