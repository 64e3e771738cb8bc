package interop;

import io.seata.core.context.RootContext;
import io.seata.core.exception.TransactionException;
import io.seata.core.exception.TransactionExceptionCode;
import io.seata.core.model.BranchType;
import io.seata.core.model.GlobalStatus;
import io.seata.tm.api.TransactionalExecutor;
import io.seata.tm.api.TransactionalTemplate;
import io.seata.tm.api.transaction.TransactionInfo;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.ArrayList;

/** Begin, commit, rollback and time-out, with branches of each type, and what a second answer says. */
final class Transactions {
    private final Suite suite;
    private final Client client;

    Transactions(Suite suite) {
        this.suite = suite;
        this.client = suite.client;
    }

    void run() {
        suite.scenario("begin-commit-empty", this::beginCommitEmpty);
        suite.scenario("begin-rollback-empty", this::beginRollbackEmpty);
        suite.scenario("at-commit", () -> oneBranch(BranchType.AT, true));
        suite.scenario("at-rollback", () -> oneBranch(BranchType.AT, false));
        suite.scenario("tcc-commit", () -> oneBranch(BranchType.TCC, true));
        suite.scenario("tcc-rollback", () -> oneBranch(BranchType.TCC, false));
        suite.scenario("xa-commit", () -> oneBranch(BranchType.XA, true));
        suite.scenario("xa-rollback", () -> oneBranch(BranchType.XA, false));
        suite.scenario("mixed-commit", this::mixedCommit);
        suite.scenario("application-data-untouched", this::applicationDataUntouched);
        suite.scenario("template-commit", () -> template(true));
        suite.scenario("template-rollback", () -> template(false));
        suite.scenario("timeout-rolls-back", this::timeoutRollsBack);
        suite.scenario("repeat-commit", this::repeatCommit);
        suite.scenario("repeat-commit-after-end", this::repeatCommitAfterEnd);
        suite.scenario("repeat-rollback", this::repeatRollback);
        suite.scenario("rollback-after-commit", this::rollbackAfterCommit);
        suite.scenario("commit-during-rollback", this::commitDuringRollback);
        suite.scenario("commit-during-rollback-is-a-failure", this::commitDuringRollbackIsFailure);
        suite.scenario("register-after-decision", this::registerAfterDecision);
        suite.scenario("register-unknown-xid", this::registerUnknownXid);
        suite.scenario("saga-reported", this::sagaReported);
        suite.scenario("saga-timeout", this::sagaTimeout);
        suite.scenario("many-at-once", this::manyAtOnce);
    }

    private void beginCommitEmpty() throws Exception {
        String xid = client.begin("begin-commit-empty");
        Check.that(xid.matches("[0-9.]+:" + Integer.getInteger("interop.port") + ":[0-9]+"), "xid is address, port and number: " + xid);
        Check.equal(GlobalStatus.Begin, client.status(xid), "status after begin");
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        awaitEnd(xid);
    }

    private void beginRollbackEmpty() throws Exception {
        String xid = client.begin("begin-rollback-empty");
        Check.equal(GlobalStatus.Rollbacked, client.rollback(xid), "answer to rollback");
        awaitEnd(xid);
    }

    private void oneBranch(BranchType type, boolean commit) throws Exception {
        String resource = "one-" + type + "-" + commit;
        client.serve(type, resource);
        String xid = client.begin(resource);
        String data = "{\"actionContext\":{\"amount\":7}}";
        long branch = client.register(type, resource, xid, data, type == BranchType.AT ? "account:1,2" : null);
        Check.that(branch > 0, "branch id is positive: " + branch);
        GlobalStatus answer = commit ? client.commit(xid) : client.rollback(xid);
        Check.equal(commit ? GlobalStatus.Committed : GlobalStatus.Rollbacked, answer, "answer");
        Check.eventually(60, "phase two", () -> !client.journal.of(xid).isEmpty());
        awaitEnd(xid);
        List<PhaseTwoCall> calls = client.journal.of(xid);
        Check.equal(1, calls.size(), "number of phase-two calls");
        PhaseTwoCall call = calls.get(0);
        Check.equal(commit, call.commit, "direction");
        Check.equal(type.name(), call.type, "branch type");
        Check.equal(branch, call.branchId, "branch id");
        Check.equal(resource, call.resourceId, "resource");
        Check.equal(data, call.applicationData, "application data");
    }

    private void mixedCommit() throws Exception {
        client.serve(BranchType.AT, "mixed-at");
        client.serve(BranchType.TCC, "mixed-tcc");
        String xid = client.begin("mixed-commit");
        client.register(BranchType.AT, "mixed-at", xid, null, "mixed:1");
        client.register(BranchType.TCC, "mixed-tcc", xid, "{}", null);
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        Check.eventually(60, "both branches committed", () -> client.journal.of(xid).size() == 2);
        awaitEnd(xid);
        Check.equal(2, client.journal.of(xid).size(), "number of phase-two calls");
    }

    private void applicationDataUntouched() throws Exception {
        client.serve(BranchType.TCC, "data-tcc");
        String[] all = {"{\"name\":\"\u4e8b\u52a1 \u00e9 \\u0000\"}", "not json; a:b,c", String.join("", Collections.nCopies(1200, "0123456789"))};
        for (String data : all) {
            String xid = client.begin("application-data");
            client.register(BranchType.TCC, "data-tcc", xid, data, null);
            Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
            Check.equal(data, client.journal.of(xid).get(0).applicationData, "application data");
        }
    }

    /** The client's own template: begin, business code, commit or rollback, as an annotated method runs. */
    private void template(boolean commit) throws Exception {
        client.serve(BranchType.TCC, "template-tcc");
        String[] xid = new String[1];
        IllegalStateException refused = new IllegalStateException("business refuses");
        Throwable thrown = null;
        try {
            new TransactionalTemplate().execute(new TransactionalExecutor() {
                @Override
                public Object execute() throws Throwable {
                    xid[0] = RootContext.getXID();
                    client.register(BranchType.TCC, "template-tcc", xid[0], "{}", null);
                    if (!commit) {
                        throw refused;
                    }
                    return "done";
                }

                @Override
                public TransactionInfo getTransactionInfo() {
                    TransactionInfo info = new TransactionInfo();
                    info.setName("template");
                    info.setTimeOut(30_000);
                    return info;
                }
            });
        } catch (Throwable e) {
            thrown = e instanceof TransactionalExecutor.ExecutionException ? ((TransactionalExecutor.ExecutionException) e).getOriginalException() : e;
        }
        Check.equal(commit ? null : refused, thrown, "what the caller sees");
        Check.equal(1, client.journal.of(xid[0]).size(), "number of phase-two calls");
        Check.equal(commit, client.journal.of(xid[0]).get(0).commit, "direction");
    }

    private void timeoutRollsBack() throws Exception {
        client.serve(BranchType.AT, "timeout-at");
        String xid = client.begin("timeout-rolls-back", 4000);
        client.register(BranchType.AT, "timeout-at", xid, null, "slow:1");
        Check.equal(GlobalStatus.Begin, client.status(xid), "status before the deadline");
        Check.eventually(60, "rollback after the deadline", () -> !client.journal.of(xid).isEmpty());
        Check.equal(false, client.journal.of(xid).get(0).commit, "direction");
        awaitEnd(xid);
        Check.equal(1, client.journal.of(xid).size(), "number of phase-two calls");
        Check.that(client.lockable("timeout-at", Client.STRANGER, "slow:1"), "the row is free again");
        Check.oneOf(client.commit(xid), "answer to a commit that comes too late", GlobalStatus.Finished, GlobalStatus.TimeoutRollbacked);
        Check.oneOf(client.rollback(xid), "answer to a rollback that comes too late", GlobalStatus.Finished, GlobalStatus.TimeoutRollbacked);
    }

    private void repeatCommit() throws Exception {
        client.serve(BranchType.AT, "repeat-commit");
        Journal.Hold hold = client.journal.hold("repeat-commit");
        String xid = client.begin("repeat-commit");
        client.register(BranchType.AT, "repeat-commit", xid, null, "repeat:1");
        Check.equal(GlobalStatus.Committed, client.commit(xid), "first answer");
        Check.equal(GlobalStatus.Committed, client.commit(xid), "second answer, phase two still running");
        hold.release();
        awaitEnd(xid);
        Check.equal(1, client.journal.of(xid).size(), "number of phase-two calls");
    }

    /** A client from 1.7 on reads Finished as a failure, so the answer it may have missed has to come again. */
    private void repeatCommitAfterEnd() throws Exception {
        client.serve(BranchType.TCC, "repeat-end");
        String xid = client.begin("repeat-commit-after-end");
        client.register(BranchType.TCC, "repeat-end", xid, "{}", null);
        Check.equal(GlobalStatus.Committed, client.commit(xid), "first answer");
        awaitEnd(xid);
        Check.equal(suite.readsRollbackAnswers ? GlobalStatus.Committed : GlobalStatus.Finished, client.commit(xid), "answer after the end");
        Check.equal(1, client.journal.of(xid).size(), "number of phase-two calls");
    }

    private void repeatRollback() throws Exception {
        client.serve(BranchType.TCC, "repeat-rollback");
        String xid = client.begin("repeat-rollback");
        client.register(BranchType.TCC, "repeat-rollback", xid, "{}", null);
        Check.equal(GlobalStatus.Rollbacked, client.rollback(xid), "first answer");
        Check.oneOf(client.rollback(xid), "second answer", GlobalStatus.Rollbacked, GlobalStatus.Finished);
        Check.equal(1, client.journal.of(xid).size(), "number of phase-two calls");
        Check.equal(GlobalStatus.Finished, client.commit(xid), "commit of what was rolled back");
    }

    private void rollbackAfterCommit() throws Exception {
        client.serve(BranchType.AT, "rollback-after");
        Journal.Hold hold = client.journal.hold("rollback-after");
        String xid = client.begin("rollback-after-commit");
        client.register(BranchType.AT, "rollback-after", xid, null, "after:1");
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        Check.equal(GlobalStatus.AsyncCommitting, client.rollback(xid), "rollback while the branches are committed");
        hold.release();
        awaitEnd(xid);
        Check.oneOf(client.rollback(xid), "rollback after the end", GlobalStatus.AsyncCommitting, GlobalStatus.Finished);
        Check.equal(1, client.journal.of(xid).size(), "number of phase-two calls");
        Check.equal(true, client.journal.of(xid).get(0).commit, "direction");
    }

    private void commitDuringRollback() throws Exception {
        GlobalStatus answer = commitWhileRollingBack("during-rollback");
        Check.oneOf(answer, "commit while rolling back", GlobalStatus.Rollbacking, GlobalStatus.TimeoutRollbacking);
    }

    /** Of the two only the time-out status makes a client from 1.7 on throw; before that no status does. */
    private void commitDuringRollbackIsFailure() throws Exception {
        GlobalStatus answer = commitWhileRollingBack("during-rollback-failure");
        Check.equal(suite.readsRollbackAnswers ? GlobalStatus.TimeoutRollbacking : GlobalStatus.Rollbacking, answer, "commit while rolling back");
    }

    private GlobalStatus commitWhileRollingBack(String resource) throws Exception {
        client.serve(BranchType.TCC, resource);
        Journal.Hold hold = client.journal.hold(resource);
        String xid = client.begin(resource);
        client.register(BranchType.TCC, resource, xid, "{}", null);
        ExecutorService other = Executors.newSingleThreadExecutor();
        try {
            Future<GlobalStatus> rollback = other.submit(() -> client.rollback(xid));
            Check.eventually(60, "the branch is called", () -> !client.journal.of(xid).isEmpty());
            GlobalStatus answer = client.commit(xid);
            hold.release();
            Check.equal(GlobalStatus.Rollbacked, rollback.get(), "answer to the rollback");
            Check.equal(1, client.journal.of(xid).size(), "number of phase-two calls");
            return answer;
        } finally {
            hold.release();
            other.shutdown();
        }
    }

    private void registerAfterDecision() throws Exception {
        client.serve(BranchType.AT, "after-decision");
        Journal.Hold hold = client.journal.hold("after-decision");
        String xid = client.begin("register-after-decision");
        client.register(BranchType.AT, "after-decision", xid, null, "late:1");
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        try {
            Check.oneOf(registerCode("after-decision", xid, "late:2"), "code of the refusal",
                TransactionExceptionCode.GlobalTransactionStatusInvalid, TransactionExceptionCode.GlobalTransactionNotActive);
        } finally {
            hold.release();
        }
        awaitEnd(xid);
        Check.that(client.lockable("after-decision", Client.STRANGER, "late:1,2"), "no row stays locked");
    }

    private void registerUnknownXid() throws Exception {
        client.serve(BranchType.AT, "unknown-xid");
        String known = client.begin("register-unknown-xid");
        String unknown = known.substring(0, known.lastIndexOf(':') + 1) + "987654321";
        Check.equal(TransactionExceptionCode.GlobalTransactionNotExist, registerCode("unknown-xid", unknown, "x:1"), "code of the refusal");
        Check.equal(GlobalStatus.Finished, client.status(unknown), "status of an unknown xid");
        Check.equal(GlobalStatus.Finished, client.rollback(unknown), "rollback of an unknown xid");
        client.rollback(known);
    }

    private void sagaReported() throws Exception {
        String resource = client.application + "#" + Client.GROUP;
        client.serve(BranchType.SAGA, resource);
        String xid = client.begin("$Saga_reported");
        client.register(BranchType.SAGA, resource, xid, null, null);
        Check.equal(GlobalStatus.Committed, client.report(xid, GlobalStatus.Committed), "answer to the report");
        Check.equal(GlobalStatus.Finished, client.status(xid), "status after it");
        Check.equal(0, client.journal.of(xid).size(), "number of phase-two calls");
    }

    private void sagaTimeout() throws Exception {
        String resource = client.application + "#" + Client.GROUP;
        client.serve(BranchType.SAGA, resource);
        String xid = client.begin("$Saga_timeout", 4000);
        client.register(BranchType.SAGA, resource, xid, null, null);
        client.register(BranchType.SAGA, resource, xid, null, null);
        Check.eventually(60, "the engine is told", () -> !client.journal.of(xid).isEmpty());
        awaitEnd(xid);
        Check.equal(1, client.journal.of(xid).size(), "calls for the whole transaction");
        PhaseTwoCall call = client.journal.of(xid).get(0);
        Check.equal(-1L, call.branchId, "branch id");
        Check.equal(false, call.commit, "direction");
        Check.equal("TimeoutRollbacking", call.applicationData, "the status travels as data");
    }

    private void manyAtOnce() throws Exception {
        client.serve(BranchType.AT, "many-at");
        client.serve(BranchType.TCC, "many-tcc");
        ExecutorService threads = Executors.newFixedThreadPool(8);
        List<Callable<String>> work = new ArrayList<>();
        for (int i = 0; i < 240; i++) {
            int number = i;
            work.add(() -> {
                boolean commit = number % 3 != 0;
                String xid = client.begin("many-" + number);
                client.register(BranchType.AT, "many-at", xid, "{\"n\":" + number + "}", "many:" + number);
                client.register(BranchType.TCC, "many-tcc", xid, "{\"n\":" + number + "}", null);
                GlobalStatus answer = commit ? client.commit(xid) : client.rollback(xid);
                Check.equal(commit ? GlobalStatus.Committed : GlobalStatus.Rollbacked, answer, "answer " + number);
                return (commit ? "c" : "r") + xid;
            });
        }
        Set<String> xids = new HashSet<>();
        for (Future<String> done : threads.invokeAll(work)) {
            xids.add(done.get());
        }
        threads.shutdown();
        Check.equal(work.size(), xids.size(), "different xids");
        for (String marked : xids) {
            String xid = marked.substring(1);
            Check.eventually(60, "both branches of " + xid, () -> client.journal.of(xid).size() >= 2);
            Check.equal(2, client.journal.of(xid).size(), "phase-two calls of " + xid);
            for (PhaseTwoCall call : client.journal.of(xid)) {
                Check.equal(marked.startsWith("c"), call.commit, "direction of " + call);
            }
        }
    }

    private TransactionExceptionCode registerCode(String resource, String xid, String locks) {
        try {
            long branch = client.register(BranchType.AT, resource, xid, null, locks);
            throw new AssertionError("register was accepted as branch " + branch);
        } catch (TransactionException e) {
            return e.getCode();
        }
    }

    /** A finished transaction is unknown to the coordinator, which it calls Finished. */
    private void awaitEnd(String xid) throws Exception {
        Check.eventually(60, "end of the transaction", () -> client.status(xid) == GlobalStatus.Finished);
    }
}
