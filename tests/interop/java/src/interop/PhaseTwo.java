package interop;

import io.seata.core.exception.TransactionException;
import io.seata.core.exception.TransactionExceptionCode;
import io.seata.core.model.BranchStatus;
import io.seata.core.model.BranchType;
import io.seata.core.model.GlobalStatus;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** Order and repetition of phase-two calls, and what branch reports change. */
final class PhaseTwo {
    private final Suite suite;
    private final Client client;

    PhaseTwo(Suite suite) {
        this.suite = suite;
        this.client = suite.client;
    }

    void run() {
        suite.scenario("rollback-in-reverse", () -> order(false));
        suite.scenario("commit-in-order", () -> order(true));
        suite.scenario("commit-retried", () -> retried(true));
        suite.scenario("rollback-retried", () -> retried(false));
        suite.scenario("commit-unretryable", this::commitUnretryable);
        suite.scenario("report-failed-branch", this::reportFailedBranch);
        suite.scenario("report-done-branch", this::reportDoneBranch);
        suite.scenario("report-new-data", this::reportNewData);
        suite.scenario("report-unknown", this::reportUnknown);
    }

    private void order(boolean commit) throws Exception {
        client.serve(BranchType.TCC, "order-a");
        client.serve(BranchType.TCC, "order-b");
        String xid = client.begin("order");
        List<Long> expected = new ArrayList<>();
        for (String resource : Arrays.asList("order-a", "order-b", "order-a")) {
            expected.add(client.register(BranchType.TCC, resource, xid, "{}", null));
        }
        GlobalStatus answer = commit ? client.commit(xid) : client.rollback(xid);
        Check.equal(commit ? GlobalStatus.Committed : GlobalStatus.Rollbacked, answer, "answer");
        if (!commit) {
            Collections.reverse(expected);
        }
        Check.equal(expected, branches(xid), "order of the calls");
    }

    private void retried(boolean commit) throws Exception {
        String resource = "retried-" + commit;
        client.serve(BranchType.TCC, resource);
        client.journal.answer(resource, commit ? BranchStatus.PhaseTwo_CommitFailed_Retryable : BranchStatus.PhaseTwo_RollbackFailed_Retryable);
        String xid = client.begin(resource);
        long branch = client.register(BranchType.TCC, resource, xid, "{\"again\":1}", null);
        GlobalStatus answer = commit ? client.commit(xid) : client.rollback(xid);
        Check.equal(commit ? GlobalStatus.CommitRetrying : GlobalStatus.RollbackRetrying, answer, "answer");
        Check.eventually(60, "the second call", () -> client.journal.of(xid).size() >= 2);
        Check.equal(Arrays.asList(branch, branch), branches(xid), "branches called");
        Check.equal("{\"again\":1}", client.journal.of(xid).get(1).applicationData, "application data of the second call");
        Check.equal(commit, client.journal.of(xid).get(1).commit, "direction of the second call");
        Check.eventually(60, "end of the transaction", () -> client.status(xid) == GlobalStatus.Finished);
        Check.equal(2, client.journal.of(xid).size(), "number of calls");
    }

    private void commitUnretryable() throws Exception {
        client.serve(BranchType.TCC, "commit-failed");
        client.journal.answer("commit-failed", BranchStatus.PhaseTwo_CommitFailed_Unretryable);
        String xid = client.begin("commit-unretryable");
        client.register(BranchType.TCC, "commit-failed", xid, "{}", null);
        Check.equal(GlobalStatus.CommitFailed, client.commit(xid), "answer to commit");
        Check.equal(GlobalStatus.CommitFailed, client.status(xid), "status stays for the operator");
        Check.equal(1, client.journal.of(xid).size(), "number of calls");
    }

    private void reportFailedBranch() throws Exception {
        client.serve(BranchType.AT, "report-failed");
        String xid = client.begin("report-failed-branch");
        long good = client.register(BranchType.AT, "report-failed", xid, null, "t:1");
        long bad = client.register(BranchType.AT, "report-failed", xid, null, "t:2");
        client.report(BranchType.AT, xid, bad, BranchStatus.PhaseOne_Failed, null);
        client.report(BranchType.AT, xid, bad, BranchStatus.PhaseOne_Failed, null);
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        Check.eventually(60, "end of the transaction", () -> client.status(xid) == GlobalStatus.Finished);
        Check.equal(Collections.singletonList(good), branches(xid), "only the good branch is called");
    }

    private void reportDoneBranch() throws Exception {
        client.serve(BranchType.AT, "report-done");
        String xid = client.begin("report-done-branch");
        long branch = client.register(BranchType.AT, "report-done", xid, null, "t:1");
        client.report(BranchType.AT, xid, branch, BranchStatus.PhaseOne_Done, null);
        Check.equal(GlobalStatus.Rollbacked, client.rollback(xid), "answer to rollback");
        Check.equal(Collections.singletonList(branch), branches(xid), "the branch is called");
    }

    private void reportNewData() throws Exception {
        client.serve(BranchType.TCC, "report-data");
        String xid = client.begin("report-new-data");
        long branch = client.register(BranchType.TCC, "report-data", xid, "{\"old\":1}", null);
        client.report(BranchType.TCC, xid, branch, BranchStatus.PhaseOne_Done, "{\"new\":2}");
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        Check.equal("{\"new\":2}", client.journal.of(xid).get(0).applicationData, "application data");
    }

    private void reportUnknown() throws Exception {
        String xid = client.begin("report-unknown");
        Check.equal(TransactionExceptionCode.BranchTransactionNotExist, reportCode(xid, 77), "code for an unknown branch");
        String unknown = xid.substring(0, xid.lastIndexOf(':') + 1) + "987654321";
        Check.equal(TransactionExceptionCode.GlobalTransactionNotExist, reportCode(unknown, 77), "code for an unknown xid");
        client.rollback(xid);
    }

    private TransactionExceptionCode reportCode(String xid, long branch) {
        try {
            client.report(BranchType.AT, xid, branch, BranchStatus.PhaseOne_Done, null);
            throw new AssertionError("report was accepted");
        } catch (TransactionException e) {
            return e.getCode();
        }
    }

    private List<Long> branches(String xid) {
        List<Long> found = new ArrayList<>();
        for (PhaseTwoCall call : client.journal.of(xid)) {
            found.add(call.branchId);
        }
        return found;
    }
}
