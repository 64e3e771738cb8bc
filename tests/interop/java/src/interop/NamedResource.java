package interop;

import io.seata.core.model.BranchType;
import io.seata.core.model.Resource;

/** A resource that is nothing but its name: what a data source or a TCC action is to the coordinator. */
final class NamedResource implements Resource {
    private final BranchType type;
    private final String id;

    NamedResource(BranchType type, String id) {
        this.type = type;
        this.id = id;
    }

    @Override
    public String getResourceGroupId() {
        return "DEFAULT";
    }

    @Override
    public String getResourceId() {
        return id;
    }

    @Override
    public BranchType getBranchType() {
        return type;
    }
}
