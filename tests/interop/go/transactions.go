package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seata/seata-go/pkg/protocol/branch"
	"github.com/seata/seata-go/pkg/protocol/message"
	"github.com/seata/seata-go/pkg/remoting/getty"
	"github.com/seata/seata-go/pkg/rm"
	"github.com/seata/seata-go/pkg/rm/tcc"
	"github.com/seata/seata-go/pkg/tm"
)

// params is what an application hands to its TCC service; the tagged field travels in the branch.
type params struct {
	Amount string `tccParam:"amount"`
}

func runTransactions(s *suite, j *journal) {
	s.scenario("begin-commit-empty", beginCommitEmpty)
	s.scenario("begin-rollback-empty", beginRollbackEmpty)
	s.scenario("tcc-commit", func() error { return tccBranches(j, true) })
	s.scenario("tcc-rollback", func() error { return tccBranches(j, false) })
	s.scenario("at-commit", func() error { return atBranch(j, true) })
	s.scenario("at-rollback", func() error { return atBranch(j, false) })
	s.scenario("timeout-rolls-back", func() error { return timeoutRollsBack(j) })
	s.scenario("lock-conflict", lockConflict)
	s.scenario("lock-query", lockQuery)
	s.scenario("report-failed-branch", func() error { return reportFailedBranch(j) })
	s.scenario("many-at-once", func() error { return manyAtOnce(j) })
	s.scenario("idle-connection-stays", func() error { return idleConnectionStays(j) })
}

// begin returns the transaction as its launcher holds it.
func begin(name string, timeout time.Duration) (*tm.GlobalTransaction, error) {
	ctx := tm.InitSeataContext(context.Background())
	tm.SetTxName(ctx, name)
	if err := tm.GetGlobalTransactionManager().Begin(ctx, timeout); err != nil {
		return nil, err
	}
	return &tm.GlobalTransaction{Xid: tm.GetXID(ctx), TxName: name, TxRole: tm.Launcher}, nil
}

func commit(tx *tm.GlobalTransaction) (message.GlobalStatus, error) {
	err := tm.GetGlobalTransactionManager().Commit(context.Background(), tx)
	return tx.TxStatus, err
}

func rollback(tx *tm.GlobalTransaction) (message.GlobalStatus, error) {
	err := tm.GetGlobalTransactionManager().Rollback(context.Background(), tx)
	return tx.TxStatus, err
}

func status(xid string) (message.GlobalStatus, error) {
	request := message.GlobalStatusRequest{AbstractGlobalEndRequest: message.AbstractGlobalEndRequest{Xid: xid}}
	answer, err := getty.GetGettyRemotingClient().SendSyncRequest(request)
	if err != nil {
		return 0, err
	}
	response, ok := answer.(message.GlobalStatusResponse)
	if !ok {
		return 0, fmt.Errorf("answer to a status request: %T", answer)
	}
	return response.GlobalStatus, nil
}

func registerAT(xid, locks string) (int64, error) {
	return rm.GetRMRemotingInstance().BranchRegister(rm.BranchRegisterParam{
		BranchType: branch.BranchTypeAT, ResourceId: "go-db", Xid: xid, ApplicationData: `{"n":1}`, LockKeys: locks,
	})
}

func lockable(xid, locks string) (bool, error) {
	return rm.GetRMRemotingInstance().LockQuery(rm.LockQueryParam{
		BranchType: branch.BranchTypeAT, ResourceId: "go-db", Xid: xid, LockKeys: locks,
	})
}

func awaitEnd(xid string) error {
	return eventually(60*time.Second, "end of the transaction", func() bool {
		now, err := status(xid)
		return err == nil && now == message.GlobalStatusFinished
	})
}

func beginCommitEmpty() error {
	tx, err := begin("begin-commit-empty", time.Minute)
	if err != nil {
		return err
	}
	before, err1 := status(tx.Xid)
	after, err2 := commit(tx)
	return first(err1, err2, equal(message.GlobalStatusBegin, before, "status after begin"),
		equal(message.GlobalStatusCommitted, after, "answer to commit"), awaitEnd(tx.Xid))
}

func beginRollbackEmpty() error {
	tx, err := begin("begin-rollback-empty", time.Minute)
	if err != nil {
		return err
	}
	after, err := rollback(tx)
	return first(err, equal(message.GlobalStatusRollbacked, after, "answer to rollback"), awaitEnd(tx.Xid))
}

// tccBranches runs two TCC services inside the client's own transaction template.
func tccBranches(j *journal, commits bool) error {
	names := []string{fmt.Sprintf("go-action-a-%v", commits), fmt.Sprintf("go-action-b-%v", commits)}
	var actions []*tcc.TCCServiceProxy
	for _, name := range names {
		proxy, err := newAction(name, j)
		if err != nil {
			return err
		}
		actions = append(actions, proxy)
	}
	refused := errors.New("business refuses")
	var xid string
	err := tm.WithGlobalTx(context.Background(), &tm.GtxConfig{Name: "tcc", Timeout: time.Minute}, func(ctx context.Context) error {
		xid = tm.GetXID(ctx)
		for _, action := range actions {
			if _, err := action.Prepare(ctx, &params{Amount: "seven"}); err != nil {
				return err
			}
		}
		if !commits {
			return refused
		}
		return nil
	})
	if commits && err != nil || !commits && (err == nil || !strings.Contains(err.Error(), refused.Error())) {
		return fmt.Errorf("the caller sees %v", err)
	}
	calls := j.of(xid)
	if len(calls) != 2 {
		return fmt.Errorf("phase-two calls: %v", calls)
	}
	if !commits {
		names[0], names[1] = names[1], names[0]
	}
	for i, c := range calls {
		if err := first(equal(commits, c.commit, "direction"), equal(names[i], c.resource, "order of the calls"),
			equal("seven", c.data, "action context")); err != nil {
			return err
		}
	}
	return nil
}

func atBranch(j *journal, commits bool) error {
	tx, err := begin("at", time.Minute)
	if err != nil {
		return err
	}
	id, err := registerAT(tx.Xid, "account:1,2")
	if err != nil {
		return err
	}
	end, expected := rollback, message.GlobalStatusRollbacked
	if commits {
		end, expected = commit, message.GlobalStatusCommitted
	}
	answer, err := end(tx)
	if err = first(err, equal(expected, answer, "answer"), awaitEnd(tx.Xid)); err != nil {
		return err
	}
	calls := j.of(tx.Xid)
	if len(calls) != 1 {
		return fmt.Errorf("phase-two calls: %v", calls)
	}
	return equal(call{commits, "AT", tx.Xid, id, "go-db", `{"n":1}`}, calls[0], "phase-two call")
}

func timeoutRollsBack(j *journal) error {
	tx, err := begin("timeout", 4*time.Second)
	if err != nil {
		return err
	}
	if _, err = registerAT(tx.Xid, "slow:1"); err != nil {
		return err
	}
	err = eventually(60*time.Second, "rollback after the deadline", func() bool { return len(j.of(tx.Xid)) > 0 })
	if err = first(err, awaitEnd(tx.Xid)); err != nil {
		return err
	}
	late, err := commit(tx)
	if err == nil && late != message.GlobalStatusFinished && late != message.GlobalStatusTimeoutRollbacked {
		err = fmt.Errorf("answer to a commit that comes too late: %v", late)
	}
	return first(err, equal(false, j.of(tx.Xid)[0].commit, "direction"))
}

func lockConflict() error {
	holder, err1 := begin("holder", time.Minute)
	other, err2 := begin("other", time.Minute)
	if err := first(err1, err2); err != nil {
		return err
	}
	if _, err := registerAT(holder.Xid, "conflict:1;stock:5,6"); err != nil {
		return err
	}
	if id, err := registerAT(other.Xid, "stock:6"); err == nil {
		return fmt.Errorf("register was accepted as branch %d", id)
	} else if !strings.Contains(err.Error(), "lock acquire failed") {
		return fmt.Errorf("the refusal reads %q", err)
	}
	answer, err := commit(holder)
	if err = first(err, equal(message.GlobalStatusCommitted, answer, "answer to commit")); err != nil {
		return err
	}
	if _, err = registerAT(other.Xid, "stock:6"); err != nil {
		return fmt.Errorf("after the commit of the holder: %w", err)
	}
	_, err = rollback(other)
	return err
}

func lockQuery() error {
	holder, err := begin("holder", time.Minute)
	if err != nil {
		return err
	}
	if _, err = registerAT(holder.Xid, "query:1"); err != nil {
		return err
	}
	own, err1 := lockable(holder.Xid, "query:1")
	foreign, err2 := lockable("127.0.0.1:8091:1", "query:2,1")
	free, err3 := lockable("127.0.0.1:8091:1", "query:2")
	_, err4 := rollback(holder)
	return first(err1, err2, err3, err4, equal(true, own, "free to its holder"), equal(false, foreign, "held by another"),
		equal(true, free, "another row"))
}

func reportFailedBranch(j *journal) error {
	tx, err := begin("report", time.Minute)
	if err != nil {
		return err
	}
	good, err1 := registerAT(tx.Xid, "report:1")
	bad, err2 := registerAT(tx.Xid, "report:2")
	err3 := rm.GetRMRemotingInstance().BranchReport(rm.BranchReportParam{
		BranchType: branch.BranchTypeAT, Xid: tx.Xid, BranchId: bad, Status: branch.BranchStatusPhaseoneFailed,
	})
	_, err4 := commit(tx)
	if err = first(err1, err2, err3, err4, awaitEnd(tx.Xid)); err != nil {
		return err
	}
	calls := j.of(tx.Xid)
	if len(calls) != 1 || calls[0].branchID != good {
		return fmt.Errorf("only branch %d is to be called: %v", good, calls)
	}
	return nil
}

// manyAtOnce sends requests of both directions over the one connection, where the ids of both sides share one table.
func manyAtOnce(j *journal) error {
	const workers, rounds = 8, 40
	action, err := newAction("go-many", j)
	if err != nil {
		return err
	}
	results := make(chan error, workers*rounds)
	var running sync.WaitGroup
	for w := 0; w < workers; w++ {
		running.Add(1)
		go func(w int) {
			defer running.Done()
			for i := 0; i < rounds; i++ {
				results <- oneOfMany(j, action, (w+i)%3 != 0, fmt.Sprintf("many:%d-%d", w, i))
			}
		}(w)
	}
	running.Wait()
	close(results)
	for err := range results {
		if err != nil {
			return err
		}
	}
	return nil
}

func oneOfMany(j *journal, action *tcc.TCCServiceProxy, commits bool, row string) error {
	refused := errors.New("business refuses")
	var xid string
	start := time.Now()
	err := tm.WithGlobalTx(context.Background(), &tm.GtxConfig{Name: "many", Timeout: time.Minute}, func(ctx context.Context) error {
		xid = tm.GetXID(ctx)
		if _, err := registerAT(xid, row); err != nil {
			return fmt.Errorf("register: %w", err)
		}
		if _, err := action.Prepare(ctx, &params{Amount: row}); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		if !commits {
			return refused
		}
		return nil
	})
	if commits && err != nil || !commits && (err == nil || !strings.Contains(err.Error(), refused.Error())) {
		return fmt.Errorf("the caller sees %v", err)
	}
	if took := time.Since(start); took > 15*time.Second {
		return fmt.Errorf("a transaction took %v", took)
	}
	err = eventually(60*time.Second, "both branches", func() bool { return len(j.of(xid)) >= 2 })
	for _, c := range j.of(xid) {
		err = first(err, equal(commits, c.commit, "direction"))
	}
	return first(err, equal(2, len(j.of(xid)), "phase-two calls"))
}

// idleConnectionStays keeps silent, but for heartbeats, for longer than a coordinator waits for a dead peer.
func idleConnectionStays(j *journal) error {
	time.Sleep(18 * time.Second)
	return atBranch(j, true)
}
