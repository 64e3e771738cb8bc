package main

import (
	"fmt"
	"time"

	"github.com/seata/seata-go/pkg/protocol/message"
)

// runRestarts kills the coordinator with kill -9 while the client stays. This client registers its TM by itself on a new
// connection, its resources only when told to, which the test does as an application has to.
func runRestarts(s *suite, j *journal) {
	s.scenario("restart-undecided-survives", func() error { return undecidedSurvives(s, j) })
	s.scenario("restart-decided-goes-on", func() error { return decidedGoesOn(s, j) })
}

func restart(s *suite, j *journal) error {
	if err := first(s.control("kill"), s.control("start")); err != nil {
		return err
	}
	err := eventually(60*time.Second, "the client has reconnected", func() bool {
		_, err := status("127.0.0.1:8091:1")
		return err == nil
	})
	return first(err, serveAT(j))
}

func undecidedSurvives(s *suite, j *journal) error {
	tx, err := begin("undecided", 5*time.Minute)
	if err != nil {
		return err
	}
	id, err := registerAT(tx.Xid, "undecided:1")
	if err = first(err, restart(s, j)); err != nil {
		return err
	}
	now, err1 := status(tx.Xid)
	free, err2 := lockable("127.0.0.1:8091:1", "undecided:1")
	answer, err3 := commit(tx)
	if err = first(err1, err2, err3, equal(message.GlobalStatusBegin, now, "status"), equal(false, free, "lock after the restart"),
		equal(message.GlobalStatusCommitted, answer, "answer to commit"), awaitEnd(tx.Xid)); err != nil {
		return err
	}
	calls := j.of(tx.Xid)
	if len(calls) != 1 || calls[0].branchID != id || !calls[0].commit {
		return fmt.Errorf("phase-two calls: %v", calls)
	}
	return nil
}

func decidedGoesOn(s *suite, j *journal) error {
	tx, err := begin("decided", time.Minute)
	if err != nil {
		return err
	}
	if _, err = registerAT(tx.Xid, "decided:1"); err != nil {
		return err
	}
	release := j.hold("go-db")
	defer release()
	answer, err := commit(tx)
	if err = first(err, equal(message.GlobalStatusCommitted, answer, "answer to commit")); err != nil {
		return err
	}
	if err = eventually(60*time.Second, "the branch is called", func() bool { return len(j.of(tx.Xid)) == 1 }); err != nil {
		return err
	}
	if err = first(s.control("kill")); err != nil {
		return err
	}
	release()
	if err = s.control("start"); err != nil {
		return err
	}
	err = eventually(60*time.Second, "the client has reconnected", func() bool {
		_, err := status(tx.Xid)
		return err == nil
	})
	if err = first(err, serveAT(j), awaitEnd(tx.Xid)); err != nil {
		return err
	}
	calls := j.of(tx.Xid)
	if len(calls) != 2 || !calls[1].commit || calls[1].branchID != calls[0].branchID {
		return fmt.Errorf("the branch is to be committed again: %v", calls)
	}
	return nil
}
