package interop;

import io.seata.core.exception.TransactionException;
import io.seata.core.exception.TransactionExceptionCode;
import io.seata.core.model.BranchStatus;
import io.seata.core.model.BranchType;
import io.seata.core.model.GlobalStatus;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Row locks: who gets them, who is refused with which code, and when they are free again. */
final class Locks {
    private final Suite suite;
    private final Client client;

    Locks(Suite suite) {
        this.suite = suite;
        this.client = suite.client;
    }

    void run() {
        suite.scenario("lock-conflict", this::conflict);
        suite.scenario("lock-free-after-rollback", this::freeAfterRollback);
        suite.scenario("lock-all-or-nothing", this::allOrNothing);
        suite.scenario("lock-reentrant", this::reentrant);
        suite.scenario("lock-query", this::query);
        suite.scenario("lock-only-at", this::onlyAt);
        suite.scenario("lock-fail-fast", this::failFast);
        suite.scenario("lock-held-while-rolling-back", this::heldWhileRollingBack);
        suite.scenario("lock-kept-after-failed-rollback", this::keptAfterFailedRollback);
    }

    private void conflict() throws Exception {
        client.serve(BranchType.AT, "lock-db");
        String holder = client.begin("holder");
        String other = client.begin("other");
        client.register(BranchType.AT, "lock-db", holder, null, "account:1;stock:5,6");
        Check.equal(TransactionExceptionCode.LockKeyConflict, refusal(other, "lock-db", "stock:6"), "code for a held row");
        client.serve(BranchType.AT, "lock-db-2");
        client.register(BranchType.AT, "lock-db-2", other, null, "stock:6");
        client.register(BranchType.AT, "lock-db", other, null, "stock:7;account:2");
        Check.equal(GlobalStatus.Committed, client.commit(holder), "answer to commit");
        client.register(BranchType.AT, "lock-db", other, null, "stock:6");
        Check.equal(GlobalStatus.Committed, client.commit(other), "answer to commit");
    }

    private void freeAfterRollback() throws Exception {
        client.serve(BranchType.AT, "lock-rollback");
        String holder = client.begin("holder");
        client.register(BranchType.AT, "lock-rollback", holder, null, "account:1");
        Check.that(!client.lockable("lock-rollback", Client.STRANGER, "account:1"), "held before");
        Check.equal(GlobalStatus.Rollbacked, client.rollback(holder), "answer to rollback");
        String other = client.begin("other");
        client.register(BranchType.AT, "lock-rollback", other, null, "account:1");
        client.rollback(other);
    }

    private void allOrNothing() throws Exception {
        client.serve(BranchType.AT, "lock-all");
        String holder = client.begin("holder");
        String other = client.begin("other");
        client.register(BranchType.AT, "lock-all", holder, null, "t:2");
        Check.equal(TransactionExceptionCode.LockKeyConflict, refusal(other, "lock-all", "t:1,2,3"), "code for one held row of three");
        Check.that(client.lockable("lock-all", holder, "t:1,3"), "the refused branch left no lock");
        client.rollback(other);
        Check.equal(0, client.journal.of(other).size(), "the refused branch is not called");
        client.rollback(holder);
    }

    private void reentrant() throws Exception {
        client.serve(BranchType.AT, "lock-again");
        String xid = client.begin("reentrant");
        client.register(BranchType.AT, "lock-again", xid, null, "t:1");
        client.register(BranchType.AT, "lock-again", xid, null, "t:1,2");
        Check.that(!client.lockable("lock-again", Client.STRANGER, "t:1"), "row 1 is held");
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        Check.that(client.lockable("lock-again", Client.STRANGER, "t:1,2"), "both are free as soon as the commit is answered");
    }

    private void query() throws Exception {
        client.serve(BranchType.AT, "lock-query");
        String holder = client.begin("holder");
        String other = client.begin("other");
        client.register(BranchType.AT, "lock-query", holder, null, "t:1;u:a_b");
        Check.that(client.lockable("lock-query", holder, "t:1;u:a_b"), "free to its holder");
        Check.that(!client.lockable("lock-query", other, "t:9,1"), "one held row is enough");
        Check.that(!client.lockable("lock-query", other, "u:a_b"), "a composite key is held");
        Check.that(client.lockable("lock-query", other, "t:2;u:a"), "other rows are free");
        Check.that(client.lockable("lock-query-2", other, "t:1"), "the same row of another resource is free");
        client.commit(holder);
        Check.that(client.lockable("lock-query", other, "t:1;u:a_b"), "free after the commit");
        client.rollback(other);
    }

    private void onlyAt() throws Exception {
        client.serve(BranchType.TCC, "lock-tcc");
        String one = client.begin("one");
        String two = client.begin("two");
        client.register(BranchType.TCC, "lock-tcc", one, "{}", "t:1");
        client.register(BranchType.TCC, "lock-tcc", two, "{}", "t:1");
        Check.equal(GlobalStatus.Committed, client.commit(one), "answer to commit");
        Check.equal(GlobalStatus.Committed, client.commit(two), "answer to commit");
    }

    /**
     * A client that holds its own database transaction open says so, and must not wait for a row whose holder is being
     * undone. The code for it does not exist before 1.5, where the plain conflict stands for it.
     */
    private void failFast() throws Exception {
        whileRollingBack("lock-fail-fast", resource -> {
            TransactionExceptionCode expected;
            try {
                expected = TransactionExceptionCode.valueOf("LockKeyConflictFailFast");
            } catch (IllegalArgumentException e) {
                expected = TransactionExceptionCode.LockKeyConflict;
            }
            String other = client.begin("other");
            try {
                client.register(BranchType.AT, resource, other, "{\"autoCommit\":false}", "t:1");
                throw new AssertionError("register was accepted");
            } catch (TransactionException e) {
                Check.equal(expected, e.getCode(), "code for a row that is being rolled back");
            }
            client.rollback(other);
        });
    }

    private void heldWhileRollingBack() throws Exception {
        whileRollingBack("lock-rolling-back", resource -> {
            String other = client.begin("other");
            Check.equal(TransactionExceptionCode.LockKeyConflict, refusal(other, resource, "t:1"), "code for the row");
            client.rollback(other);
        });
    }

    private void keptAfterFailedRollback() throws Exception {
        client.serve(BranchType.AT, "lock-dirty");
        client.journal.answer("lock-dirty", BranchStatus.PhaseTwo_RollbackFailed_Unretryable);
        String holder = client.begin("holder");
        client.register(BranchType.AT, "lock-dirty", holder, null, "t:1");
        Check.equal(GlobalStatus.RollbackFailed, client.rollback(holder), "answer to rollback");
        Check.equal(GlobalStatus.RollbackFailed, client.status(holder), "status stays for the operator");
        Check.that(!client.lockable("lock-dirty", Client.STRANGER, "t:1"), "the dirty row stays locked");
        Check.equal(1, client.journal.of(holder).size(), "the branch is not called again");
    }

    private interface WithResource {
        void run(String resource) throws Exception;
    }

    private void whileRollingBack(String resource, WithResource body) throws Exception {
        client.serve(BranchType.AT, resource);
        Journal.Hold hold = client.journal.hold(resource);
        String holder = client.begin("holder");
        client.register(BranchType.AT, resource, holder, null, "t:1");
        ExecutorService side = Executors.newSingleThreadExecutor();
        try {
            Future<GlobalStatus> rollback = side.submit(() -> client.rollback(holder));
            Check.eventually(60, "the branch is called", () -> !client.journal.of(holder).isEmpty());
            body.run(resource);
            hold.release();
            Check.equal(GlobalStatus.Rollbacked, rollback.get(), "answer to rollback");
            Check.that(client.lockable(resource, Client.STRANGER, "t:1"), "free after the rollback");
        } finally {
            hold.release();
            side.shutdown();
        }
    }

    private TransactionExceptionCode refusal(String xid, String resource, String locks) {
        try {
            long branch = client.register(BranchType.AT, resource, xid, null, locks);
            throw new AssertionError("register was accepted as branch " + branch);
        } catch (TransactionException e) {
            return e.getCode();
        }
    }
}
