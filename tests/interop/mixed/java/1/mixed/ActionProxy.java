package mixed;

import io.seata.core.context.RootContext;
import io.seata.core.model.BranchType;
import io.seata.rm.DefaultResourceManager;
import io.seata.rm.tcc.TCCResource;
import io.seata.rm.tcc.api.BusinessActionContext;
import io.seata.rm.tcc.api.TwoPhaseBusinessAction;
import io.seata.rm.tcc.interceptor.ActionInterceptorHandler;
import java.lang.reflect.Method;

/** What Spring's scanner does with a TCC bean in the 1.x releases, which have no other entry. */
final class ActionProxy {
    private ActionProxy() {
    }

    static Stock of(StockService service) throws Exception {
        Method prepare = prepare();
        TwoPhaseBusinessAction action = prepare.getAnnotation(TwoPhaseBusinessAction.class);
        TCCResource resource = new TCCResource();
        resource.setActionName(action.name());
        resource.setTargetBean(service);
        resource.setPrepareMethod(prepare);
        resource.setCommitMethodName(action.commitMethod());
        resource.setCommitMethod(Stock.class.getMethod(action.commitMethod(), BusinessActionContext.class));
        resource.setRollbackMethodName(action.rollbackMethod());
        resource.setRollbackMethod(Stock.class.getMethod(action.rollbackMethod(), BusinessActionContext.class));
        DefaultResourceManager.get().registerResource(resource);
        return service;
    }

    static void tryIn(Stock stock, String xid, String item, long quantity) throws Throwable {
        Method prepare = prepare();
        Object[] arguments = {null, item, quantity};
        RootContext.bind(xid);
        RootContext.bindBranchType(BranchType.TCC);
        try {
            new ActionInterceptorHandler().proceed(prepare, arguments, xid, prepare.getAnnotation(TwoPhaseBusinessAction.class),
                () -> prepare.invoke(stock, arguments));
        } finally {
            RootContext.unbindBranchType();
            RootContext.unbind();
        }
    }

    private static Method prepare() throws NoSuchMethodException {
        return Stock.class.getMethod("reserve", BusinessActionContext.class, String.class, long.class);
    }
}
