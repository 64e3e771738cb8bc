package interop;

import io.seata.core.context.RootContext;
import io.seata.core.exception.TransactionException;
import io.seata.core.model.BranchStatus;
import io.seata.core.model.BranchType;
import io.seata.core.model.GlobalStatus;
import io.seata.core.model.TransactionManager;
import io.seata.rm.DefaultResourceManager;
import io.seata.rm.RMClient;
import io.seata.tm.TMClient;
import io.seata.tm.TransactionManagerHolder;

/** The Seata client of this process: one TM connection, one RM connection, as in every Java application. */
final class Client {
    static final String GROUP = "interop_group";
    /** A well-formed xid that belongs to nobody: who asks for a row with it holds none. */
    static final String STRANGER = "127.0.0.1:8091:1";

    final String application;
    final Journal journal = new Journal();
    private final RecordingDataSources dataSources = new RecordingDataSources(journal);
    private final RecordingManager tcc = new RecordingManager(BranchType.TCC, journal);
    private final RecordingManager xa = new RecordingManager(BranchType.XA, journal);
    private final RecordingManager saga = new RecordingManager(BranchType.SAGA, journal);
    private TransactionManager manager;

    Client(String application) {
        this.application = application;
    }

    /** Connects the TM; the RM connects with the first resource, or now when one was prepared. */
    void start() {
        startTransactionManager();
        startResourceManager();
    }

    void startTransactionManager() {
        TMClient.init(application, GROUP);
        manager = TransactionManagerHolder.get();
    }

    void startResourceManager() {
        DefaultResourceManager.get();
        DefaultResourceManager.mockResourceManager(BranchType.AT, dataSources);
        DefaultResourceManager.mockResourceManager(BranchType.TCC, tcc);
        DefaultResourceManager.mockResourceManager(BranchType.XA, xa);
        DefaultResourceManager.mockResourceManager(BranchType.SAGA, saga);
        RMClient.init(application, GROUP);
    }

    void serve(BranchType type, String resourceId) {
        DefaultResourceManager.get().registerResource(new NamedResource(type, resourceId));
    }

    void prepare(BranchType type, String resourceId) {
        NamedResource resource = new NamedResource(type, resourceId);
        if (type == BranchType.AT) {
            dataSources.prepare(resource);
        } else {
            recorder(type).prepare(resource);
        }
    }

    String begin(String name, int timeoutMs) throws TransactionException {
        return manager.begin(application, GROUP, name, timeoutMs);
    }

    String begin(String name) throws TransactionException {
        return begin(name, 60_000);
    }

    GlobalStatus commit(String xid) throws TransactionException {
        return manager.commit(xid);
    }

    GlobalStatus rollback(String xid) throws TransactionException {
        return manager.rollback(xid);
    }

    GlobalStatus status(String xid) throws TransactionException {
        return manager.getStatus(xid);
    }

    GlobalStatus report(String xid, GlobalStatus status) throws TransactionException {
        return manager.globalReport(xid, status);
    }

    long register(BranchType type, String resourceId, String xid, String data, String lockKeys) throws TransactionException {
        return DefaultResourceManager.get().branchRegister(type, resourceId, null, xid, data, lockKeys);
    }

    void report(BranchType type, String xid, long branchId, BranchStatus status, String data) throws TransactionException {
        DefaultResourceManager.get().branchReport(type, xid, branchId, status, data);
    }

    /** The question of a "select for update" under a global lock, outside of any global transaction. */
    boolean lockable(String resourceId, String xid, String lockKeys) throws TransactionException {
        RootContext.bindGlobalLockFlag();
        try {
            return DefaultResourceManager.get().lockQuery(BranchType.AT, resourceId, xid, lockKeys);
        } finally {
            RootContext.unbindGlobalLockFlag();
        }
    }

    private RecordingManager recorder(BranchType type) {
        switch (type) {
            case TCC:
                return tcc;
            case XA:
                return xa;
            case SAGA:
                return saga;
            default:
                throw new IllegalArgumentException(type.name());
        }
    }
}
