package interop;

import io.seata.core.exception.TransactionException;
import io.seata.core.model.BranchStatus;
import io.seata.core.model.BranchType;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * A process of an application that a test drives from outside, and may kill: it obeys lines on standard input, answers each with a line
 * starting "re", and tells of each phase-two call with a line starting "call". Fields are separated by tabs.
 */
final class Member {
    private final PrintStream out;
    private Client client;

    private Member(PrintStream out) {
        this.out = out;
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        Member member = new Member(out);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String answer;
            try {
                answer = member.obey(line.split("\t", -1));
            } catch (TransactionException e) {
                answer = "error\t" + e.getCode() + "\t" + oneLine(e.getMessage());
            } catch (Exception e) {
                answer = "error\t\t" + oneLine(e.toString());
            }
            member.tell("re\t" + answer);
        }
        Runtime.getRuntime().halt(0);
    }

    private String obey(String[] order) throws Exception {
        switch (order[0]) {
            case "start":
                client = new Client(order[1]);
                client.journal.listen(this::tellCall);
                for (int i = 2; i + 1 < order.length; i += 2) {
                    client.prepare(BranchType.valueOf(order[i]), order[i + 1]);
                }
                client.startResourceManager();
                return "ok";
            case "serve":
                client.serve(BranchType.valueOf(order[1]), order[2]);
                return "ok";
            case "register":
                return "ok\t" + client.register(BranchType.valueOf(order[1]), order[2], order[3], order[4], order[5]);
            case "hold":
                client.journal.hold(order[1]);
                return "ok";
            case "answer":
                client.journal.answer(order[1], BranchStatus.valueOf(order[2]));
                return "ok";
            case "manage":
                client.startTransactionManager();
                return "ok";
            case "begin":
                return "ok\t" + client.begin(order[1], Integer.parseInt(order[2]));
            case "commit":
                return "ok\t" + client.commit(order[1]);
            case "rollback":
                return "ok\t" + client.rollback(order[1]);
            case "later":
                later(order[1].equals("commit"), order[2]);
                return "ok";
            case "status":
                return "ok\t" + client.status(order[1]);
            case "lockable":
                return "ok\t" + client.lockable(order[1], order[2], order[3]);
            default:
                return "error\t\tunknown order " + order[0];
        }
    }

    /** Asks for a decision whose answer nobody waits for. */
    private void later(boolean commit, String xid) {
        Thread thread = new Thread(() -> {
            try {
                System.err.println("told later: " + (commit ? client.commit(xid) : client.rollback(xid)));
            } catch (TransactionException | RuntimeException e) {
                System.err.println("told later: " + e);
            }
        }, "later");
        thread.setDaemon(true);
        thread.start();
    }

    private void tellCall(PhaseTwoCall call) {
        String data = call.applicationData == null ? "" : call.applicationData;
        tell(String.join("\t", "call", call.commit ? "commit" : "rollback", call.type, call.xid, Long.toString(call.branchId),
            call.resourceId, data));
    }

    private void tell(String line) {
        synchronized (out) {
            out.println(line);
        }
    }

    private static String oneLine(String text) {
        return text == null ? "" : text.replaceAll("\\s+", " ");
    }
}
