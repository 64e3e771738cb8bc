package mixed;

import io.seata.core.context.RootContext;
import io.seata.integration.tx.api.util.ProxyUtil;

/** The client's own proxy, which from 2.0 on needs no Spring. */
final class ActionProxy {
    private ActionProxy() {
    }

    static Stock of(StockService service) {
        return ProxyUtil.createProxy((Stock) service);
    }

    static void tryIn(Stock stock, String xid, String item, long quantity) {
        RootContext.bind(xid);
        try {
            stock.reserve(null, item, quantity);
        } finally {
            RootContext.unbind();
        }
    }
}
