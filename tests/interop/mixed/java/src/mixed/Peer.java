package mixed;

import io.seata.core.context.RootContext;
import io.seata.core.exception.TransactionException;
import io.seata.core.model.TransactionManager;
import io.seata.rm.RMClient;
import io.seata.tm.TMClient;
import io.seata.tm.TransactionManagerHolder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A Java application that takes part in global transactions: it obeys lines on standard input, answers each with a line
 * starting "re", and tells of each call of its TCC service with a line starting "call". Fields are separated by tabs.
 */
final class Peer {
    private static final String GROUP = "interop_group";

    private final PrintStream out;
    private final Map<String, Database> databases = new HashMap<>();
    private String application;
    private TransactionManager manager;
    private Stock stock;

    private Peer(PrintStream out) {
        this.out = out;
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        Peer peer = new Peer(out);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String answer;
            try {
                answer = peer.obey(line.split("\t", -1));
            } catch (TransactionException e) {
                answer = refusal(e, "transaction", e.getCode() + " " + e.getMessage());
            } catch (Throwable e) {
                answer = refusal(e, conflict(e) ? "conflict" : "other", causes(e));
            }
            peer.tell("re\t" + answer);
        }
        Runtime.getRuntime().halt(0);
    }

    private String obey(String[] order) throws Throwable {
        switch (order[0]) {
            case "start":
                application = order[1];
                TMClient.init(application, GROUP);
                RMClient.init(application, GROUP);
                manager = TransactionManagerHolder.get();
                return "ok";
            case "action":
                StockService.listen(this::tell);
                stock = ActionProxy.of(new StockService());
                return "ok\t" + Stock.NAME;
            case "database":
                Database database = new Database(order[2], order[3], order[4], order[5]);
                databases.put(order[1], database);
                return "ok\t" + database.resourceId();
            case "begin":
                return "ok\t" + manager.begin(application, GROUP, order[1], Integer.parseInt(order[2]));
            case "commit":
                return "ok\t" + manager.commit(order[1]);
            case "rollback":
                return "ok\t" + manager.rollback(order[1]);
            case "try":
                ActionProxy.tryIn(stock, order[1], order[2], Long.parseLong(order[3]));
                return "ok";
            case "local":
                return "ok\t" + in(order[1], () -> databases.get(order[2]).local(statements(order)));
            case "select":
                return "ok\t" + in(order[1], () -> databases.get(order[2]).select(order[3]));
            default:
                return "error\tother\tunknown order " + order[0];
        }
    }

    private interface Body {
        String run() throws Exception;
    }

    private static String in(String xid, Body body) throws Exception {
        RootContext.bind(xid);
        try {
            return body.run();
        } finally {
            RootContext.unbind();
        }
    }

    private static List<String> statements(String[] order) {
        return Arrays.asList(order).subList(3, order.length);
    }

    private static boolean conflict(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            String name = cause.getClass().getSimpleName();
            if (name.startsWith("LockConflict") || name.startsWith("LockWaitTimeout")) {
                return true;
            }
        }
        return false;
    }

    private static String causes(Throwable error) {
        StringBuilder text = new StringBuilder();
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            text.append(text.length() == 0 ? "" : "; because ").append(cause);
        }
        return text.toString();
    }

    private static String refusal(Throwable error, String kind, String text) {
        error.printStackTrace();
        return "error\t" + kind + "\t" + text.replaceAll("\\s+", " ");
    }

    private void tell(String line) {
        synchronized (out) {
            out.println(line);
        }
    }
}
