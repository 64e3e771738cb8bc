package interop;

import io.seata.core.exception.TransactionException;
import io.seata.core.exception.TransactionExceptionCode;
import io.seata.core.model.BranchType;
import io.seata.core.model.GlobalStatus;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * The coordinator is killed with kill -9 and started again on its store, while the clients stay as they are. An idle Java
 * client looks for lost connections every ten seconds, from its first minute on: scenarios that need it come last.
 */
final class Restarts {
    private static final int RECONNECT_SECONDS_MAX = 80;

    private final Suite suite;
    private final Client client;

    private String committed;
    private long committedBranch;
    private String rolledBack;
    private final List<Long> rolledBackBranches = new ArrayList<>();
    private String undecided;
    private String told;
    private String deadline;

    Restarts(Suite suite) {
        this.suite = suite;
        this.client = suite.client;
    }

    void run() {
        if (suite.wants("restart")) {
            restarts();
        }
        suite.scenario("rm-throws", this::resourceManagerThrows);
    }

    private void restarts() {
        suite.scenario("restart", this::killBetweenDecisionAndPhaseTwo);
        suite.scenario("restart-idle-rm-reconnects", this::idleResourceManagerReconnects);
        suite.scenario("restart-rollback-goes-on-at-once", () -> awaitEnd(rolledBack, 30));
        suite.scenario("restart-rollback-goes-on", this::rollbackGoesOn);
        suite.scenario("restart-undecided-survives", this::undecidedSurvives);
        suite.scenario("restart-timeout-survives", this::timeoutSurvives);
        suite.scenario("restart-answers-again", this::answersAgain);
        suite.scenario("restart-new-ids", this::newIds);
        suite.scenario("restart-down-fails-fast", this::downFailsFast);
    }

    private void killBetweenDecisionAndPhaseTwo() throws Exception {
        client.serve(BranchType.AT, "restart-at");
        client.serve(BranchType.TCC, "restart-tcc");
        undecided = client.begin("undecided", 300_000);
        client.register(BranchType.AT, "restart-at", undecided, "{\"n\":1}", "undecided:1");
        deadline = client.begin("deadline", 8_000);
        client.register(BranchType.AT, "restart-at", deadline, "{\"n\":2}", "deadline:1");
        told = client.begin("told");
        client.register(BranchType.TCC, "restart-tcc", told, "{}", null);
        Check.equal(GlobalStatus.Committed, client.commit(told), "answer to a commit before the crash");

        Journal.Hold commitCall = client.journal.hold("restart-at");
        committed = client.begin("committed");
        committedBranch = client.register(BranchType.AT, "restart-at", committed, "{\"n\":3}", "committed:1");
        Check.equal(GlobalStatus.Committed, client.commit(committed), "answer to commit");
        Check.eventually(60, "the AT branch is called", () -> !client.journal.of(committed).isEmpty());

        rolledBack = client.begin("rolled-back");
        for (int i = 0; i < 2; i++) {
            rolledBackBranches.add(client.register(BranchType.TCC, "restart-tcc", rolledBack, "{\"n\":" + i + "}", null));
        }
        Journal.Hold rollbackCall = client.journal.hold("restart-tcc");
        Thread caller = new Thread(this::rollbackIntoTheCrash, "rollback-into-the-crash");
        caller.setDaemon(true);
        caller.start();
        Check.eventually(60, "the TCC branch is called", () -> !client.journal.of(rolledBack).isEmpty());

        suite.killCoordinator();
        commitCall.release();
        rollbackCall.release();
        suite.startCoordinator();
    }

    /** The answer is lost with the coordinator; what matters is what the transaction does afterwards. */
    private void rollbackIntoTheCrash() {
        try {
            GlobalStatus status = client.rollback(rolledBack);
            System.err.println("rollback across the crash answered " + status);
        } catch (TransactionException e) {
            System.err.println("rollback across the crash failed: " + e);
        }
    }

    /** Nothing is asked of the RM here: it has to come back by itself, and is then told again what it had not answered. */
    private void idleResourceManagerReconnects() throws Exception {
        Check.eventually(RECONNECT_SECONDS_MAX, "the AT branch is called again", () -> client.journal.of(committed).size() >= 2);
        PhaseTwoCall again = client.journal.of(committed).get(1);
        Check.that(again.commit, "direction");
        Check.equal(committedBranch, again.branchId, "branch id");
        Check.equal("{\"n\":3}", again.applicationData, "application data");
        awaitEnd(committed, RECONNECT_SECONDS_MAX);
    }

    private void rollbackGoesOn() throws Exception {
        awaitEnd(rolledBack, 145);
        List<PhaseTwoCall> calls = client.journal.of(rolledBack);
        List<Long> branches = new ArrayList<>();
        for (PhaseTwoCall call : calls) {
            Check.that(!call.commit, "direction");
            branches.add(call.branchId);
        }
        long first = rolledBackBranches.get(1);
        Check.equal(Arrays.asList(first, first, rolledBackBranches.get(0)), branches, "last branch first, repeated after the crash");
        Check.oneOf(client.rollback(rolledBack), "answer to a repeated rollback", GlobalStatus.Rollbacked, GlobalStatus.Finished);
    }

    private void undecidedSurvives() throws Exception {
        Check.equal(GlobalStatus.Begin, client.status(undecided), "status");
        Check.that(!client.lockable("restart-at", Client.STRANGER, "undecided:1"), "the lock is still held");
        String other = client.begin("other");
        try {
            client.register(BranchType.AT, "restart-at", other, null, "undecided:1");
            throw new AssertionError("register was accepted");
        } catch (TransactionException e) {
            Check.equal(TransactionExceptionCode.LockKeyConflict, e.getCode(), "code");
        }
        client.rollback(other);
        client.register(BranchType.AT, "restart-at", undecided, "{\"n\":4}", "undecided:2");
        Check.equal(GlobalStatus.Committed, client.commit(undecided), "answer to commit");
        Check.that(client.lockable("restart-at", Client.STRANGER, "undecided:1,2"), "the locks are free");
        Check.eventually(60, "both branches are called", () -> client.journal.of(undecided).size() == 2);
        Check.equal("{\"n\":1}", client.journal.of(undecided).get(0).applicationData, "data from before the crash");
        awaitEnd(undecided, 60);
    }

    private void timeoutSurvives() throws Exception {
        Check.eventually(60, "rollback after the deadline", () -> !client.journal.of(deadline).isEmpty());
        Check.that(!client.journal.of(deadline).get(0).commit, "direction");
        awaitEnd(deadline, 60);
        Check.that(client.lockable("restart-at", Client.STRANGER, "deadline:1"), "the lock is free");
    }

    /** What was told before the crash is told again after it. */
    private void answersAgain() throws Exception {
        GlobalStatus expected = suite.readsRollbackAnswers ? GlobalStatus.Committed : GlobalStatus.Finished;
        Check.equal(expected, client.commit(told), "answer to a commit repeated after the crash");
        Check.equal(1, client.journal.of(told).size(), "number of phase-two calls");
    }

    private void newIds() throws Exception {
        String xid = client.begin("new-ids");
        for (String old : Arrays.asList(undecided, deadline, told, committed, rolledBack)) {
            Check.that(!xid.equals(old), "an xid is used once");
        }
        Check.equal(GlobalStatus.Rollbacked, client.rollback(xid), "answer to rollback");
    }

    /** With no coordinator there a begin fails instead of hanging, and the next one after its return works. */
    private void downFailsFast() throws Exception {
        suite.killCoordinator();
        long start = System.nanoTime();
        try {
            client.begin("nobody-there");
            throw new AssertionError("begin succeeded without a coordinator");
        } catch (TransactionException | RuntimeException e) {
            long seconds = (System.nanoTime() - start) / 1_000_000_000;
            System.err.println("begin without a coordinator failed after " + seconds + " s: " + e);
            Check.that(seconds < 35, "begin failed only after " + seconds + " s");
        } finally {
            suite.startCoordinator();
        }
        Check.eventually(60, "begin works again", this::begins);
        String xid = client.begin("back-again");
        client.serve(BranchType.TCC, "restart-again");
        client.register(BranchType.TCC, "restart-again", xid, "{}", null);
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        Check.equal(1, client.journal.of(xid).size(), "number of phase-two calls");
    }

    /**
     * When the application's code throws, a Java RM puts no branch status into its answer, fails to encode it and sends a
     * header of length zero instead, after which nothing on that connection can be told apart. The client has to be made to
     * connect again.
     */
    private void resourceManagerThrows() throws Exception {
        client.serve(BranchType.TCC, "rm-throws");
        client.journal.fail("rm-throws");
        String xid = client.begin("rm-throws");
        long branch = client.register(BranchType.TCC, "rm-throws", xid, "{}", null);
        GlobalStatus answer;
        try {
            answer = client.commit(xid);
        } catch (TransactionException e) {
            answer = client.commit(xid);
        }
        Check.oneOf(answer, "answer to commit", GlobalStatus.Committing, GlobalStatus.CommitRetrying);
        awaitEnd(xid, RECONNECT_SECONDS_MAX);
        Check.equal(2, client.journal.of(xid).size(), "number of phase-two calls");
        Check.equal(branch, client.journal.of(xid).get(1).branchId, "branch id of the second call");
    }

    /** A client from 2.x on forgets an address that refused it until its next look at the connections, 10 s later at most. */
    private boolean begins() {
        try {
            client.rollback(client.begin("probe"));
            return true;
        } catch (TransactionException | RuntimeException e) {
            return false;
        }
    }

    private void awaitEnd(String xid, int seconds) throws Exception {
        Check.eventually(seconds, "end of the transaction", () -> client.status(xid) == GlobalStatus.Finished);
    }
}
