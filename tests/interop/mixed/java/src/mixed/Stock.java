package mixed;

import io.seata.rm.tcc.api.BusinessActionContext;
import io.seata.rm.tcc.api.BusinessActionContextParameter;
import io.seata.rm.tcc.api.LocalTCC;
import io.seata.rm.tcc.api.TwoPhaseBusinessAction;

/** A TCC service as an application declares it. */
@LocalTCC
public interface Stock {
    /** The name of the action, and so the id of its resource. */
    String NAME = "stockOfJava";

    @TwoPhaseBusinessAction(name = NAME, commitMethod = "confirm", rollbackMethod = "cancel")
    boolean reserve(BusinessActionContext context, @BusinessActionContextParameter(paramName = "item") String item,
        @BusinessActionContextParameter(paramName = "quantity") long quantity);

    boolean confirm(BusinessActionContext context);

    boolean cancel(BusinessActionContext context);
}
