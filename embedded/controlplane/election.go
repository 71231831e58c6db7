package controlplane

import (
	"context"
	"expvar"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// electionPoll is the time between two looks whether etcd can be elected. Only a start looks.
const electionPoll = time.Millisecond

// elect has etcd's only member stand for election as soon as it can, which otherwise takes it one or two election timeouts. It
// returns when the member leads or when ctx ends. It works for the server that was started last in this process.
//
// The message is the one that a leader sends to the member that is to take over. It is sent once raft is done with the whole log:
// a candidate reads what it has not applied, and raft panics if etcd has compacted that ("error scanning unapplied entries").
// A message that raft ignores does no harm: the next one follows, and the election timeout still applies.
func elect(ctx context.Context, server *etcdserver.EtcdServer) {
	tick := time.NewTicker(electionPoll)
	defer tick.Stop()
	self := uint64(server.MemberID())
	for {
		status, known := raftStatus()
		if known && status.ID == self {
			if status.RaftState == raft.StateLeader {
				return
			}
			if electable(status) {
				_ = server.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &self, To: &self}) // fails if etcd stops
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// electable reports whether a member is the only one and has applied every entry that was ever committed. No more can be committed
// before it leads, so that it stays true.
func electable(s raft.Status) bool {
	_, member := s.Config.Voters.IDs()[s.ID]
	return member && len(s.Config.Voters.IDs()) == 1 && s.Applied > 0 && s.Applied == s.GetCommit()
}

// raftStatus returns what etcd publishes of raft. It is unknown before the first server starts.
func raftStatus() (status raft.Status, known bool) {
	f, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return raft.Status{}, false
	}
	status, known = f.Value().(raft.Status)
	return status, known && status.HardState != nil
}
