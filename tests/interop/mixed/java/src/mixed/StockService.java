package mixed;

import io.seata.rm.tcc.api.BusinessActionContext;
import io.seata.rm.tcc.api.BusinessActionContextParameter;
import java.util.function.Consumer;

/** Tells of each of its calls. The annotations stand here too, because from 2.0 on only those of the class are read. */
public class StockService implements Stock {
    /** Not a field of the object: the client's proxy is a subclass that it makes without arguments. */
    private static volatile Consumer<String> out;

    static void listen(Consumer<String> listener) {
        out = listener;
    }

    @Override
    public boolean reserve(BusinessActionContext context, @BusinessActionContextParameter(paramName = "item") String item,
        @BusinessActionContextParameter(paramName = "quantity") long quantity) {
        return tell("try", context, item, quantity);
    }

    @Override
    public boolean confirm(BusinessActionContext context) {
        return tell("confirm", context, context.getActionContext("item"), context.getActionContext("quantity"));
    }

    @Override
    public boolean cancel(BusinessActionContext context) {
        return tell("cancel", context, context.getActionContext("item"), context.getActionContext("quantity"));
    }

    private boolean tell(String phase, BusinessActionContext context, Object item, Object quantity) {
        out.accept(String.join("\t", "call", phase, context.getXid(), Long.toString(context.getBranchId()), String.valueOf(item),
            String.valueOf(quantity)));
        return true;
    }
}
