package interop;

import io.seata.core.model.BranchStatus;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.function.Consumer;

/**
 * What the resource managers of this process were asked in phase two, and what they are told to answer.
 * Without an instruction a call succeeds: committed, or rolled back.
 */
final class Journal {
    /** A call that waits inside the resource manager until the test lets it go. */
    static final class Hold {
        private final CountDownLatch released = new CountDownLatch(1);

        void release() {
            released.countDown();
        }
    }

    private final List<PhaseTwoCall> calls = Collections.synchronizedList(new ArrayList<>());
    private final Map<String, Deque<Object>> scripts = new HashMap<>();
    private volatile Consumer<PhaseTwoCall> listener = call -> { };

    void listen(Consumer<PhaseTwoCall> listener) {
        this.listener = listener;
    }

    /** The next calls for the resource are answered with these statuses, one each. */
    void answer(String resourceId, BranchStatus... statuses) {
        synchronized (scripts) {
            Deque<Object> script = scripts.computeIfAbsent(resourceId, key -> new ArrayDeque<>());
            for (BranchStatus status : statuses) {
                script.add(status);
            }
        }
    }

    /** The next call for the resource waits. */
    Hold hold(String resourceId) {
        Hold hold = new Hold();
        synchronized (scripts) {
            scripts.computeIfAbsent(resourceId, key -> new ArrayDeque<>()).add(hold);
        }
        return hold;
    }

    /** The next call for the resource ends in an exception of the application's code. */
    void fail(String resourceId) {
        synchronized (scripts) {
            scripts.computeIfAbsent(resourceId, key -> new ArrayDeque<>()).add(new IllegalStateException("application code failed"));
        }
    }

    List<PhaseTwoCall> of(String xid) {
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

    BranchStatus receive(PhaseTwoCall call) {
        Object instruction;
        synchronized (scripts) {
            Deque<Object> script = scripts.get(call.resourceId);
            instruction = script == null ? null : script.poll();
        }
        calls.add(call);
        listener.accept(call);
        if (instruction instanceof Hold) {
            try {
                ((Hold) instruction).released.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
        if (instruction instanceof RuntimeException) {
            throw (RuntimeException) instruction;
        }
        if (instruction instanceof BranchStatus) {
            return (BranchStatus) instruction;
        }
        return call.commit ? BranchStatus.PhaseTwo_Committed : BranchStatus.PhaseTwo_Rollbacked;
    }
}
