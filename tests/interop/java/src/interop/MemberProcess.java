package interop;

import io.seata.core.model.BranchType;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** A {@link Member} in its own virtual machine, as the test sees it. */
final class MemberProcess implements AutoCloseable {
    private final Process process;
    private final PrintStream orders;
    private final BlockingQueue<String> answers = new LinkedBlockingQueue<>();
    private final List<PhaseTwoCall> calls = Collections.synchronizedList(new ArrayList<>());

    private MemberProcess(Process process) throws IOException {
        this.process = process;
        this.orders = new PrintStream(process.getOutputStream(), true, "UTF-8");
        Thread reader = new Thread(this::read, "member-" + process.pid());
        reader.setDaemon(true);
        reader.start();
    }

    /** A process of the application whose RM connection serves these resources of one type from its first frame on. */
    static MemberProcess start(String application, BranchType type, String... resourceIds) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(System.getProperty("java.home") + "/bin/java");
        command.addAll(Arrays.asList(System.getProperty("interop.jvm", "").trim().split("\\s+")));
        command.addAll(Arrays.asList("-cp", System.getProperty("java.class.path"), Member.class.getName()));
        command.removeIf(String::isEmpty);
        File log = new File(System.getProperty("interop.logs"), "members.log");
        Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.appendTo(log)).start();
        MemberProcess member = new MemberProcess(process);
        List<String> order = new ArrayList<>(Arrays.asList("start", application));
        for (String resourceId : resourceIds) {
            order.add(type.name());
            order.add(resourceId);
        }
        member.order(order.toArray(new String[0]));
        return member;
    }

    long register(BranchType type, String resourceId, String xid, String data, String lockKeys) throws Exception {
        return Long.parseLong(order("register", type.name(), resourceId, xid, data, lockKeys));
    }

    void hold(String resourceId) throws Exception {
        order("hold", resourceId);
    }

    /** Ends the process as kill -9 does and waits until it is gone. */
    void kill() throws InterruptedException {
        process.destroyForcibly().waitFor();
    }

    List<PhaseTwoCall> calls(String xid) {
        List<PhaseTwoCall> found = new ArrayList<>();
        synchronized (calls) {
            for (PhaseTwoCall call : calls) {
                if (call.xid.equals(xid)) {
                    found.add(call);
                }
            }
        }
        return found;
    }

    @Override
    public void close() throws InterruptedException {
        kill();
    }

    private String order(String... fields) throws Exception {
        orders.println(String.join("\t", fields));
        String answer = answers.poll(60, TimeUnit.SECONDS);
        if (answer == null) {
            throw new IOException("no answer to " + fields[0]);
        }
        String[] parts = answer.split("\t", -1);
        if (!parts[0].equals("ok")) {
            throw new IOException(fields[0] + " failed: " + answer.replace('\t', ' '));
        }
        return parts.length > 1 ? parts[1] : "";
    }

    private void read() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String[] f = line.split("\t", -1);
                if (f[0].equals("re")) {
                    answers.add(line.substring(3));
                } else if (f[0].equals("call")) {
                    calls.add(new PhaseTwoCall(f[1].equals("commit"), f[2], f[3], Long.parseLong(f[4]), f[5], f[6]));
                }
            }
        } catch (IOException e) {
            // The process was killed while a line was read: the test knows.
            return;
        }
    }
}
