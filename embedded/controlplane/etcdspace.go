package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"

	"github.com/klkube/kl/cluster"
)

const (
	spaceInterval = 500 * time.Millisecond // between looks at etcd's database and its disk
	minDefragSize = 128 << 20              // bytes of a database file that is worth defragmenting
	defragReserve = 32 << 20               // bytes that defragmenting leaves free on the disk, beside the copy of what is in use
	roomToDefrag  = 85                     // percent of the quota that may be in use for defragmenting to end a lack of room
	roomToDisarm  = 95                     // percent of the quota that the file may have for writes to be allowed again
)

// etcdSpace keeps etcd's database small, and lets etcd accept writes again after its quota was used up. etcd itself does neither:
// what is deleted leaves holes in the file, and the alarm NOSPACE stays until somebody takes it back.
type etcdSpace struct {
	server *etcdserver.EtcdServer
	dir    string // of the database
	logger *zap.Logger
	report func(error) // of the component; may be nil

	reported string
}

// keep looks after the database until ctx is done.
func (e *etcdSpace) keep(ctx context.Context) {
	tick := time.NewTicker(spaceInterval)
	defer tick.Stop()
	// The API server compacts what is older than five minutes, but only when it has run for ten: one that lives for less, again and
	// again, would keep everything. Whatever watches after a start begins anew, so that no history is missed.
	if e.size() >= minDefragSize {
		if err := e.compact(ctx); err != nil && ctx.Err() == nil {
			e.logger.Warn("compact the database", zap.Error(err))
		}
	}
	for last := ""; ; {
		problem, err := e.look(ctx)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != last && text != "" && ctx.Err() == nil { // once, not twice a second
			e.logger.Warn("look after the size of the database", zap.Error(err))
		}
		last = text
		e.tell(problem)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell reports a problem, or that there is none, when that has changed.
func (e *etcdSpace) tell(problem error) {
	text := ""
	if problem != nil {
		text = problem.Error()
	}
	if text != e.reported && e.report != nil {
		e.report(problem)
	}
	e.reported = text
}

// look does what there is to do. problem is why etcd accepts no writes, or may soon not accept any.
func (e *etcdSpace) look(ctx context.Context) (problem, err error) {
	problem = cluster.CheckDisk(e.dir)
	alarms := e.alarms()
	if len(alarms) > 0 {
		if err := e.compact(ctx); err != nil {
			return problem, err
		}
	}
	size, used, quota := e.size(), e.server.Backend().SizeInUse(), e.quota()
	wasteful := size >= minDefragSize && used < size/2
	if wasteful || len(alarms) > 0 && size > quota/100*roomToDisarm && used <= quota/100*roomToDefrag {
		if err := e.defragment(used); err != nil {
			return problem, err
		}
	}
	if len(alarms) == 0 {
		return problem, nil
	}
	if size := e.size(); size > quota/100*roomToDisarm {
		return fmt.Errorf("nothing can be made or changed: the API's objects take %d MB of at most %d; delete some", used>>20, quota>>20), nil
	}
	for _, a := range alarms {
		r := etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm}
		if _, err := e.server.Alarm(ctx, &r); err != nil {
			return problem, fmt.Errorf("allow writes again: %w", err)
		}
	}
	e.logger.Warn("the database has room again: writes are allowed", zap.Int64("bytes", e.size()), zap.Int64("quota", quota))
	return problem, nil
}

func (e *etcdSpace) size() int64 { return e.server.Backend().Size() }

// quota is how large the database may become, in bytes.
func (e *etcdSpace) quota() int64 {
	if q := e.server.Cfg.QuotaBackendBytes; q > 0 {
		return q
	}
	return storage.DefaultQuotaBytes
}

// alarms lists those that keep etcd from accepting writes for lack of room.
func (e *etcdSpace) alarms() []*etcdserverpb.AlarmMember {
	var found []*etcdserverpb.AlarmMember
	for _, a := range e.server.Alarms() {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			found = append(found, a)
		}
	}
	return found
}

// compact forgets everything but the current state. The API server, whose own compaction the alarm keeps from working, lists
// again where a watch lags behind that.
func (e *etcdSpace) compact(ctx context.Context) error {
	_, err := e.server.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: e.server.KV().Rev(), Physical: true})
	if err != nil && !errors.Is(err, mvcc.ErrCompacted) {
		return fmt.Errorf("compact the database: %w", err)
	}
	if err == nil {
		e.count()
	}
	return nil
}

// count has etcd count what a compaction freed. What one commit frees is counted by the next, and etcd commits nothing while nothing is
// written, as when it accepts no writes for lack of room. What is written here is there already.
func (e *etcdSpace) count() {
	b := e.server.Backend()
	b.ForceCommit()
	tx := b.BatchTx()
	tx.LockOutsideApply()
	if rev, found := mvcc.UnsafeReadFinishedCompact(tx); found {
		mvcc.UnsafeSetFinishedCompact(tx, rev)
	}
	tx.Unlock()
	b.ForceCommit()
}

// defragment writes the database anew, without holes; so many bytes of it are in use. It takes about a second for 100 MB, in which
// etcd does not answer. Without enough space on the disk it does nothing.
func (e *etcdSpace) defragment(used int64) error {
	free, err := cluster.DiskFree(e.dir)
	if err != nil {
		return err
	}
	if free < used+defragReserve {
		return fmt.Errorf("defragment the database: %d MB of the disk are free, %d are needed", free>>20, (used+defragReserve)>>20)
	}
	before := e.size()
	if err := e.server.Defragment(); err != nil {
		return fmt.Errorf("defragment the database: %w", err)
	}
	e.logger.Warn("defragmented the database", zap.Int64("before", before), zap.Int64("after", e.size()))
	return nil
}
