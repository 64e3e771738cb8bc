package interop;

/** One phase-two call as the resource manager received it. */
final class PhaseTwoCall {
    final boolean commit;
    final String type;
    final String xid;
    final long branchId;
    final String resourceId;
    final String applicationData;

    PhaseTwoCall(boolean commit, String type, String xid, long branchId, String resourceId, String applicationData) {
        this.commit = commit;
        this.type = type;
        this.xid = xid;
        this.branchId = branchId;
        this.resourceId = resourceId;
        this.applicationData = applicationData;
    }

    @Override
    public String toString() {
        return (commit ? "commit " : "rollback ") + type + " " + xid + " branch " + branchId + " of " + resourceId + " with '"
            + applicationData + "'";
    }
}
