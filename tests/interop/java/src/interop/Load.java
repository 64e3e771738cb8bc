package interop;

import io.seata.core.exception.TransactionException;
import io.seata.core.exception.TransactionExceptionCode;
import io.seata.core.model.BranchType;
import io.seata.core.model.GlobalStatus;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * An application under load: threads that begin, register branches and decide, with the tries a Seata client makes, and
 * resource managers that carry out. It tells every event on a line of its own, and judges nothing. A line is a time in
 * microseconds, a word and the word's fields, separated by tabs; the first line on standard input that says "stop" lets
 * every thread finish its transaction and then ends the lines with "done". After that phase-two calls go on being answered.
 */
final class Load {
    private static final String[] RESOURCES = {"jdbc:mysql://shop/stock", "jdbc:mysql://shop/orders"};
    private static final String[] ACTIONS = {"reserve", "pay"};
    private static final int DECISION_TRIES = 5;
    private static final int LOCK_TRIES = 10;

    private final PrintStream out;
    private final Client client;
    private final int rows = Integer.getInteger("load.rows", 200);
    private final int pauseMs = Integer.getInteger("load.pause.ms", 100);
    private final int timeoutMs = Integer.getInteger("load.timeout.ms", 60_000);
    private volatile boolean stopped;

    private Load(PrintStream out, String application) {
        this.out = out;
        this.client = new Client(application);
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        Load load = new Load(out, args[0]);
        load.connect();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < Integer.getInteger("load.threads", 16); i++) {
            Random random = new Random(Long.getLong("load.seed", 1L) * 1000 + i);
            Thread thread = new Thread(() -> load.work(random), "load-" + i);
            thread.start();
            threads.add(thread);
        }
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        in.readLine();
        load.stopped = true;
        for (Thread thread : threads) {
            thread.join();
        }
        load.tell("done");
        while (in.readLine() != null) {
            Thread.onSpinWait();
        }
        Runtime.getRuntime().halt(0);
    }

    private void connect() {
        client.journal.listen(call -> tell("call", call.commit ? "commit" : "rollback", call.xid, Long.toString(call.branchId)));
        for (String resource : RESOURCES) {
            client.prepare(BranchType.AT, resource);
        }
        for (String action : ACTIONS) {
            client.prepare(BranchType.TCC, action);
        }
        client.start();
        tell("ready");
    }

    private void work(Random random) {
        while (!stopped) {
            try {
                Thread.sleep(random.nextInt(2 * pauseMs + 1));
                transaction(random);
            } catch (InterruptedException e) {
                return;
            } catch (RuntimeException e) {
                tell("broken", oneLine(e));
            }
        }
    }

    private void transaction(Random random) throws InterruptedException {
        String xid;
        // The deadline counts from the request, which a coordinator without its database may answer much later.
        long asked = System.nanoTime();
        try {
            xid = client.begin("load", timeoutMs);
        } catch (TransactionException | RuntimeException e) {
            tell("begin-error", oneLine(e));
            return;
        }
        long left = timeoutMs - (System.nanoTime() - asked) / 1_000_000;
        tell("begin", xid, Long.toString(left));
        BranchType type = random.nextInt(100) < 60 ? BranchType.AT : BranchType.TCC;
        boolean commit = true;
        int branches = 1 + random.nextInt(2);
        for (int i = 0; i < branches && commit; i++) {
            commit = type == BranchType.AT ? locked(xid, random) : register(xid, type, ACTIONS[i], null) == null;
        }
        Thread.sleep(random.nextInt(5));
        if (random.nextInt(100) < 3) {
            tell("left", xid);
            return;
        }
        decide(xid, commit && random.nextInt(100) >= 20);
    }

    /** A branch with one row, asked for as often as a client asks by default. */
    private boolean locked(String xid, Random random) throws InterruptedException {
        String resource = RESOURCES[random.nextInt(RESOURCES.length)];
        String row = "item:" + random.nextInt(rows);
        for (int i = 0; i < LOCK_TRIES; i++) {
            TransactionExceptionCode refusal = register(xid, BranchType.AT, resource, row);
            if (refusal != TransactionExceptionCode.LockKeyConflict) {
                return refusal == null;
            }
            Thread.sleep(20);
        }
        return false;
    }

    /** Null when it is registered, else the code of the refusal. */
    private TransactionExceptionCode register(String xid, BranchType type, String resource, String row) {
        try {
            long branch = client.register(type, resource, xid, "{}", row);
            tell("branch", xid, Long.toString(branch), type.name(), row == null ? "" : resource + " " + row);
            return null;
        } catch (TransactionException e) {
            if (e.getCode() == TransactionExceptionCode.LockKeyConflict) {
                tell("conflict", xid);
                return e.getCode();
            }
            tell("branch-error", xid, oneLine(e));
            return TransactionExceptionCode.Unknown;
        } catch (RuntimeException e) {
            tell("branch-error", xid, oneLine(e));
            return TransactionExceptionCode.Unknown;
        }
    }

    private void decide(String xid, boolean commit) throws InterruptedException {
        String word = commit ? "commit" : "rollback";
        for (int i = 0; i < DECISION_TRIES; i++) {
            tell("ask", xid, word);
            try {
                GlobalStatus status = commit ? client.commit(xid) : client.rollback(xid);
                tell("told", xid, word, status.name());
                return;
            } catch (TransactionException | RuntimeException e) {
                tell("ask-error", xid, word, oneLine(e));
                Thread.sleep(20);
            }
        }
        tell("gave-up", xid, word);
    }

    private void tell(String... fields) {
        String line = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now()) + "\t" + String.join("\t", fields);
        synchronized (out) {
            out.println(line);
        }
    }

    private static String oneLine(Throwable e) {
        return String.valueOf(e).replaceAll("\\s+", " ");
    }
}
