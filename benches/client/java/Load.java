package mixed;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.seata.core.context.RootContext;
import io.seata.core.model.GlobalStatus;
import io.seata.core.model.TransactionManager;
import io.seata.rm.RMClient;
import io.seata.rm.datasource.DataSourceProxy;
import io.seata.tm.TMClient;
import io.seata.tm.TransactionManagerHolder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;

/**
 * A Java application under load: it obeys lines on standard input and answers each with a line starting "re". Fields are
 * separated by tabs. The Rust program beside it obeys the same lines. Its TCC service is that of tests/interop/mixed.
 */
final class Load {
    private static final String GROUP = "interop_group";

    private String application;
    private TransactionManager manager;
    private Stock stock;
    private DataSourceProxy database;

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        Load load = new Load();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                out.println("re\tok\t" + load.obey(line.split("\t", -1)));
            } catch (Throwable e) {
                e.printStackTrace();
                out.println("re\terror\tother\t" + oneLine(e));
            }
        }
        Runtime.getRuntime().halt(0);
    }

    private String obey(String[] order) throws Exception {
        switch (order[0]) {
            case "start":
                application = order[1];
                TMClient.init(application, GROUP);
                RMClient.init(application, GROUP);
                manager = TransactionManagerHolder.get();
                StockService.listen(line -> { });
                stock = ActionProxy.of(new StockService());
                return "";
            case "database":
                HikariConfig config = new HikariConfig();
                config.setJdbcUrl(order[1]);
                config.setUsername(order[2]);
                config.setPassword(order[3]);
                config.setMaximumPoolSize(Integer.parseInt(order[4]));
                database = new DataSourceProxy(new HikariDataSource(config));
                return database.getResourceId();
            case "run":
                return run(order[1], Integer.parseInt(order[2]), Double.parseDouble(order[3]));
            default:
                throw new IllegalArgumentException("unknown order " + order[0]);
        }
    }

    /** What one thread has done. */
    private static final class Done {
        private long[] micros = new long[1024];
        private int count;
        private long failed;
        private String complaint;

        void add(long took) {
            if (count == micros.length) {
                micros = Arrays.copyOf(micros, 2 * count);
            }
            micros[count++] = took;
        }
    }

    private String run(String scenario, int clients, double seconds) throws Exception {
        long began = System.nanoTime();
        long until = began + (long) (seconds * 1e9);
        List<Done> all = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < clients; i++) {
            Done done = new Done();
            Callable<Void> body = body(scenario, i);
            Thread thread = new Thread(() -> work(done, body, until), "load-" + i);
            all.add(done);
            threads.add(thread);
            thread.start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        double took = (System.nanoTime() - began) / 1e9;
        long[] micros = all.stream().flatMapToLong(done -> Arrays.stream(done.micros, 0, done.count)).sorted().toArray();
        long failed = all.stream().mapToLong(done -> done.failed).sum();
        String complaint = all.stream().map(done -> done.complaint).filter(c -> c != null).findFirst()
            .map(c -> "\"" + c.replaceAll("[\"\\\\]", "'") + "\"").orElse("null");
        return "{\"transactions\":" + micros.length + ",\"failed\":" + failed + ",\"seconds\":" + took
            + ",\"p50_us\":" + at(micros, 0.5) + ",\"p99_us\":" + at(micros, 0.99) + ",\"complaint\":" + complaint + "}";
    }

    private static long at(long[] sorted, double share) {
        return sorted.length == 0 ? 0 : sorted[(int) ((sorted.length - 1) * share)];
    }

    private void work(Done done, Callable<Void> body, long until) {
        for (long began = System.nanoTime(); began < until; began = System.nanoTime()) {
            try {
                String xid = manager.begin(application, GROUP, "load", 60_000);
                RootContext.bind(xid);
                try {
                    body.call();
                } finally {
                    RootContext.unbind();
                }
                GlobalStatus status = manager.commit(xid);
                if (status != GlobalStatus.Committed && status != GlobalStatus.AsyncCommitting && status != GlobalStatus.Committing) {
                    throw new IllegalStateException(xid + " " + status);
                }
                done.add((System.nanoTime() - began) / 1000);
            } catch (Throwable e) {
                done.failed++;
                done.complaint = done.complaint == null ? oneLine(e) : done.complaint;
            }
        }
    }

    /** What a transaction does between begin and commit. */
    private Callable<Void> body(String scenario, int row) {
        switch (scenario) {
            case "empty":
                return () -> null;
            case "tcc1":
                return () -> {
                    String xid = RootContext.unbind();
                    try {
                        ActionProxy.tryIn(stock, xid, "tea", row);
                    } catch (Throwable e) {
                        throw new IllegalStateException(e);
                    }
                    return null;
                };
            case "at1":
                return () -> {
                    update(row);
                    return null;
                };
            default:
                throw new IllegalArgumentException("no scenario " + scenario + "; there are empty, tcc1, at1");
        }
    }

    private void update(int row) throws Exception {
        try (Connection connection = database.getConnection()) {
            connection.setAutoCommit(false);
            try (PreparedStatement statement = connection.prepareStatement("UPDATE stock SET qty = qty + 1 WHERE id = ?")) {
                statement.setLong(1, row);
                if (statement.executeUpdate() != 1) {
                    throw new IllegalStateException("the row is not there");
                }
                connection.commit();
            } catch (Exception e) {
                connection.rollback();
                throw e;
            }
        }
    }

    private static String oneLine(Throwable e) {
        return String.valueOf(e).replaceAll("\\s+", " ");
    }
}
