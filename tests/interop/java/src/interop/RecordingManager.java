package interop;

import io.seata.core.model.BranchStatus;
import io.seata.core.model.BranchType;
import io.seata.core.model.Resource;
import io.seata.rm.AbstractResourceManager;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** The client's own resource manager for TCC, XA and SAGA branches, with the phase-two work replaced by a note of it. */
final class RecordingManager extends AbstractResourceManager {
    private final BranchType type;
    private final Journal journal;
    private final Map<String, Resource> resources = new ConcurrentHashMap<>();

    RecordingManager(BranchType type, Journal journal) {
        this.type = type;
        this.journal = journal;
    }

    @Override
    public void registerResource(Resource resource) {
        resources.put(resource.getResourceId(), resource);
        super.registerResource(resource);
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

    @Override
    public BranchType getBranchType() {
        return type;
    }
}
