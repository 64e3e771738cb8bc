package interop;

import io.seata.core.model.BranchStatus;
import io.seata.core.model.BranchType;
import io.seata.core.model.Resource;
import io.seata.rm.datasource.DataSourceManager;
import io.seata.core.rpc.netty.RmNettyRemotingClient;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The client's AT resource manager without a database under it: registration, reports and lock queries are the
 * client's own code, and phase two is a note of the call.
 */
final class RecordingDataSources extends DataSourceManager {
    private final Journal journal;
    private final Map<String, Resource> resources = new ConcurrentHashMap<>();

    RecordingDataSources(Journal journal) {
        this.journal = journal;
    }

    @Override
    public void registerResource(Resource resource) {
        resources.put(resource.getResourceId(), resource);
        RmNettyRemotingClient.getInstance().registerResource(resource.getResourceGroupId(), resource.getResourceId());
    }

    /** Makes the resource known before the first connection, so that it travels in the registration of the connection. */
    void prepare(Resource resource) {
        resources.put(resource.getResourceId(), resource);
    }

    @Override
    public BranchStatus branchCommit(BranchType type, String xid, long branchId, String resourceId, String data) {
        return journal.receive(new PhaseTwoCall(true, type.name(), xid, branchId, resourceId, data));
    }

    @Override
    public BranchStatus branchRollback(BranchType type, String xid, long branchId, String resourceId, String data) {
        return journal.receive(new PhaseTwoCall(false, type.name(), xid, branchId, resourceId, data));
    }

    @Override
    public Map<String, Resource> getManagedResources() {
        return resources;
    }
}
