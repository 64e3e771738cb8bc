package interop;

import io.netty.buffer.ByteBuf;
import io.netty.channel.embedded.EmbeddedChannel;
import io.seata.core.exception.TransactionException;
import io.seata.core.model.BranchType;
import io.seata.core.model.GlobalStatus;
import io.seata.core.protocol.RpcMessage;
import io.seata.core.protocol.transaction.GlobalBeginRequest;
import io.seata.core.rpc.netty.v1.ProtocolV1Encoder;
import java.io.InputStream;
import java.net.Socket;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Resource managers that die, others of the same application that take over, and connections that never registered. */
final class Processes {
    private final Suite suite;
    private final Client client;

    Processes(Suite suite) {
        this.suite = suite;
        this.client = suite.client;
    }

    void run() {
        suite.scenario("rm-killed-then-taken-over", this::killedThenTakenOver);
        suite.scenario("rm-killed-commit-waits", () -> killedCommitWaits("member-app", "nobody-there"));
        suite.scenario("rm-killed-not-a-stranger", () -> killedCommitWaits(client.application, "not-a-stranger"));
        suite.scenario("rm-killed-at-commit-waits", this::killedAtCommitWaits);
        suite.scenario("rm-killed-in-call", this::killedInCall);
        suite.scenario("rm-killed-in-call-answered-at-once", this::killedInCallAnsweredAtOnce);
        suite.scenario("other-application-at", this::otherApplicationAt);
        suite.scenario("other-application-tcc", this::otherApplicationTcc);
        suite.scenario("many-resources", this::manyResources);
        suite.scenario("unregistered-closed", this::unregisteredClosed);
    }

    private void killedThenTakenOver() throws Exception {
        String xid = client.begin("rm-killed");
        long branch;
        try (MemberProcess first = MemberProcess.start("member-app", BranchType.TCC, "taken-over")) {
            branch = first.register(BranchType.TCC, "taken-over", xid, "{\"by\":\"first\"}", "");
        }
        try (MemberProcess second = MemberProcess.start("member-app", BranchType.TCC, "taken-over")) {
            Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
            Check.equal(1, second.calls(xid).size(), "calls to the other process");
            Check.equal(branch, second.calls(xid).get(0).branchId, "branch id");
            Check.equal("{\"by\":\"first\"}", second.calls(xid).get(0).applicationData, "application data");
        }
    }

    /** With the application of this process there is a connection of it left, TM and RM, that does not serve the resource. */
    private void killedCommitWaits(String application, String resource) throws Exception {
        String xid = client.begin(resource);
        try (MemberProcess first = MemberProcess.start(application, BranchType.TCC, resource)) {
            first.register(BranchType.TCC, resource, xid, "{}", "");
        }
        Check.equal(GlobalStatus.CommitRetrying, client.commit(xid), "answer to commit with nobody to call");
        Check.equal(GlobalStatus.CommitRetrying, client.status(xid), "status");
        try (MemberProcess second = MemberProcess.start(application, BranchType.TCC, resource)) {
            Check.eventually(60, "the call after a process has come back", () -> !second.calls(xid).isEmpty());
            Check.that(second.calls(xid).get(0).commit, "direction");
            Check.eventually(60, "end of the transaction", () -> client.status(xid) == GlobalStatus.Finished);
        }
        Check.equal(0, client.journal.of(xid).size(), "calls to a connection without the resource");
    }

    private void killedAtCommitWaits() throws Exception {
        String xid = client.begin("rm-gone-at");
        long branch;
        try (MemberProcess first = MemberProcess.start("member-app", BranchType.AT, "nobody-there-at")) {
            branch = first.register(BranchType.AT, "nobody-there-at", xid, "", "t:1");
        }
        Check.equal(GlobalStatus.Committed, client.commit(xid), "answer to commit");
        Check.that(client.lockable("nobody-there-at", Client.STRANGER, "t:1"), "the row is free before phase two");
        try (MemberProcess second = MemberProcess.start("member-app", BranchType.AT, "nobody-there-at")) {
            Check.eventually(60, "the call after a process has come back", () -> !second.calls(xid).isEmpty());
            Check.equal(branch, second.calls(xid).get(0).branchId, "branch id");
            Check.eventually(60, "end of the transaction", () -> client.status(xid) == GlobalStatus.Finished);
        }
    }

    private void killedInCall() throws Exception {
        GlobalStatus answer = killedInCall("killed-in-call", 100);
        Check.oneOf(answer, "answer to commit", GlobalStatus.Committing, GlobalStatus.CommitRetrying);
    }

    /** The lost connection says that no answer will come, so nobody has to wait for a time-out. */
    private void killedInCallAnsweredAtOnce() throws Exception {
        Check.equal(GlobalStatus.CommitRetrying, killedInCall("killed-in-call-at-once", 8), "answer to commit");
    }

    private GlobalStatus killedInCall(String resource, int secondsMax) throws Exception {
        String xid = client.begin(resource);
        GlobalStatus answer;
        ExecutorService side = Executors.newSingleThreadExecutor();
        try (MemberProcess first = MemberProcess.start("member-app", BranchType.TCC, resource)) {
            first.register(BranchType.TCC, resource, xid, "{}", "");
            first.hold(resource);
            Future<GlobalStatus> commit = side.submit(() -> commitPatiently(xid));
            Check.eventually(60, "the first process is called", () -> !first.calls(xid).isEmpty());
            long killed = System.nanoTime();
            first.kill();
            answer = commit.get();
            long seconds = (System.nanoTime() - killed) / 1_000_000_000;
            Check.that(seconds < secondsMax, "the answer came after " + seconds + " s");
        } finally {
            side.shutdown();
        }
        try (MemberProcess second = MemberProcess.start("member-app", BranchType.TCC, resource)) {
            Check.eventually(60, "the call to the other process", () -> !second.calls(xid).isEmpty());
            Check.eventually(60, "end of the transaction", () -> client.status(xid) == GlobalStatus.Finished);
        }
        return answer;
    }

    /** Asks again when no answer came, as the client's own transaction object does. */
    private GlobalStatus commitPatiently(String xid) throws TransactionException {
        try {
            return client.commit(xid);
        } catch (TransactionException e) {
            return client.commit(xid);
        }
    }

    /** Undo records are in the database, so whoever has that database can finish an AT branch. */
    private void otherApplicationAt() throws Exception {
        String xid = client.begin("other-application-at");
        try (MemberProcess gone = MemberProcess.start("first-app", BranchType.AT, "shared-db")) {
            gone.register(BranchType.AT, "shared-db", xid, "", "t:1");
        }
        try (MemberProcess other = MemberProcess.start("second-app", BranchType.AT, "shared-db")) {
            Check.equal(GlobalStatus.Rollbacked, client.rollback(xid), "answer to rollback");
            Check.equal(1, other.calls(xid).size(), "calls to the other application");
        }
    }

    /** A TCC action of the same name in another application is another action. */
    private void otherApplicationTcc() throws Exception {
        String xid = client.begin("other-application-tcc");
        try (MemberProcess gone = MemberProcess.start("first-app", BranchType.TCC, "shared-action")) {
            gone.register(BranchType.TCC, "shared-action", xid, "{}", "");
        }
        try (MemberProcess other = MemberProcess.start("second-app", BranchType.TCC, "shared-action")) {
            Check.equal(GlobalStatus.RollbackRetrying, client.rollback(xid), "answer to rollback");
            Check.equal(0, other.calls(xid).size(), "calls to the other application");
        }
    }

    /** All names travel in one registration. */
    private void manyResources() throws Exception {
        String[] names = new String[1500];
        for (int i = 0; i < names.length; i++) {
            names[i] = "many-resources-" + i;
        }
        try (MemberProcess member = MemberProcess.start("many-app", BranchType.TCC, names)) {
            for (int i : new int[] {0, 749, 1499}) {
                String xid = client.begin("many-resources");
                member.register(BranchType.TCC, names[i], xid, "{}", "");
                client.rollback(xid);
                Check.eventually(60, "a call for " + names[i], () -> !member.calls(xid).isEmpty());
            }
        }
    }

    private void unregisteredClosed() throws Exception {
        RpcMessage message = new RpcMessage();
        message.setId(1);
        message.setMessageType((byte) 0);
        message.setCodec((byte) 1);
        message.setCompressor((byte) 0);
        message.setBody(new GlobalBeginRequest());
        EmbeddedChannel channel = new EmbeddedChannel(new ProtocolV1Encoder());
        Check.that(channel.writeOutbound(message), "the client's encoder made a frame");
        ByteBuf encoded = channel.readOutbound();
        byte[] frame = new byte[encoded.readableBytes()];
        encoded.readBytes(frame);
        Check.that(frame.length > 16, "the frame has a body");
        try (Socket socket = new Socket("127.0.0.1", Integer.getInteger("interop.port"))) {
            socket.setSoTimeout(30_000);
            socket.getOutputStream().write(frame);
            InputStream in = socket.getInputStream();
            Check.equal(-1, in.read(), "closed without an answer");
        }
    }
}
