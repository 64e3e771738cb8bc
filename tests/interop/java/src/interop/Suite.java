package interop;

import io.seata.core.model.BranchType;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Pattern;

/**
 * Runs every scenario against the coordinator of file.conf and prints a line for each. Lines that start with "@" ask the
 * driver on the other side of standard output to stop or start the coordinator; it answers on standard input.
 */
final class Suite {
    /** The body of a scenario: returns when everything held, throws when something did not. */
    interface Body {
        void run() throws Exception;
    }

    private static final int SCENARIO_SECONDS_MAX = 150;

    final Client client;
    /** Clients from 1.7 on read the rollback answers to a commit, older ones take every answer for success. */
    final boolean readsRollbackAnswers;
    private final PrintStream out;
    private final BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    private final Pattern only;
    private int passed;
    private int failed;

    private Suite(PrintStream out) {
        this.out = out;
        this.client = new Client("interop-app");
        this.only = Pattern.compile(System.getProperty("interop.only", ".*"));
        String[] version = System.getProperty("interop.version").split("\\.");
        int major = Integer.parseInt(version[0]);
        this.readsRollbackAnswers = major > 1 || Integer.parseInt(version[1]) >= 7;
    }

    public static void main(String[] args) throws Exception {
        Suite suite = new Suite(new PrintStream(System.out, true, "UTF-8"));
        System.setOut(System.err);
        suite.client.start();
        suite.client.serve(BranchType.AT, "base");
        new Transactions(suite).run();
        new Locks(suite).run();
        new PhaseTwo(suite).run();
        new Processes(suite).run();
        new Restarts(suite).run();
        suite.out.println(suite.passed + " passed, " + suite.failed + " failed");
        Runtime.getRuntime().halt(suite.failed == 0 ? 0 : 1);
    }

    void scenario(String name, Body body) {
        if (!only.matcher(name).find()) {
            return;
        }
        long start = System.nanoTime();
        Throwable problem = runWithLimit(name, body);
        long ms = (System.nanoTime() - start) / 1_000_000;
        if (problem == null) {
            passed++;
            out.println("PASS " + name + " " + ms + " ms");
            return;
        }
        failed++;
        out.println("FAIL " + name + " " + ms + " ms: " + String.valueOf(problem).replaceAll("\\s+", " "));
        StringWriter trace = new StringWriter();
        problem.printStackTrace(new PrintWriter(trace));
        System.err.println("scenario " + name + ": " + trace);
    }

    boolean wants(String name) {
        return only.matcher(name).find();
    }

    /** kill -9 of the coordinator; returns when it is gone. */
    void killCoordinator() throws IOException {
        control("kill");
    }

    /** Starts the coordinator again on its store; returns when it accepts connections. */
    void startCoordinator() throws IOException {
        control("start");
    }

    private void control(String order) throws IOException {
        out.println("@" + order);
        String answer = in.readLine();
        if (!"ok".equals(answer)) {
            throw new IOException("driver could not " + order + " the coordinator: " + answer);
        }
    }

    private static Throwable runWithLimit(String name, Body body) {
        FutureTask<Void> task = new FutureTask<>(() -> {
            body.run();
            return null;
        });
        Thread thread = new Thread(task, name);
        thread.setDaemon(true);
        thread.start();
        try {
            task.get(SCENARIO_SECONDS_MAX, TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException e) {
            return e.getCause();
        } catch (TimeoutException e) {
            AssertionError late = new AssertionError("not finished after " + SCENARIO_SECONDS_MAX + " s");
            late.setStackTrace(thread.getStackTrace());
            return late;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return e;
        }
    }
}
