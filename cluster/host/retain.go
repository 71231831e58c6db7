package host

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// seeLog is the hint that leads to a log. One that goes with what a failed up made is not named: the hint says how to keep it.
func (u *upRun) seeLog(file string) string {
	gone := func(n cluster.Node) bool {
		return strings.HasPrefix(file, u.layout.NodeDir(n.Name)+string(filepath.Separator))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.opts.Retain && (u.fresh || slices.ContainsFunc(u.made, gone)) {
		return cmp.Or(u.opts.HowToKeep, hintRetain)
	}
	return "the whole log: " + file
}

// kept is a hint for a cluster that is there after a failure, and says how to keep one that is not.
func (u *upRun) kept(hint string) string {
	if u.fresh && !u.opts.Retain {
		return cmp.Or(u.opts.HowToKeep, hintRetain)
	}
	return hint
}

const hintRetain = "'kl up --retain' keeps what a failed up made, with all logs"

// settle leaves what is kept for a look at it as it is: a control plane that serves goes on, one that died is not started again
// and again behind the user's back, and its state says what it died of.
func (u *upRun) settle(ctx context.Context) error {
	s, _, err := cluster.ReadSupervision(u.layout)
	if u.plane == nil || err != nil || s.Crashes.InARow == 0 {
		return err
	}
	if err := u.plane.stop(ctx, syscall.SIGTERM, syscall.SIGKILL); err != nil {
		return err
	}
	if s, _, err = cluster.ReadSupervision(u.layout); err != nil {
		return err
	}
	lock, err := statefile.Claim(u.layout.SupervisorFile())
	if err != nil {
		return fmt.Errorf("note that the control plane stays down: %w", err)
	}
	defer lock.Unlock()
	s.State, s.Crashes.Next, s.Crashes.Waiting = cluster.SupervisionGaveUp, time.Time{}, ""
	data, err := json.Marshal(s)
	if err == nil {
		err = lock.Write(data)
	}
	if err != nil {
		return fmt.Errorf("note that the control plane stays down: %w", err)
	}
	return nil
}
