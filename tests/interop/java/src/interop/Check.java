package interop;

import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.Callable;

/** Assertions whose messages say what was expected and what came. */
final class Check {
    private Check() { }

    static void that(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object expected, Object actual, String what) {
        if (!Objects.equals(expected, actual)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }

    static void oneOf(Object actual, String what, Object... allowed) {
        if (!Arrays.asList(allowed).contains(actual)) {
            throw new AssertionError(what + ": expected one of " + Arrays.toString(allowed) + ", got " + actual);
        }
    }

    /** Asks again until the condition holds, for so many seconds at most. */
    static void eventually(int seconds, String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError(what + ": not within " + seconds + " s");
            }
            Thread.sleep(20);
        }
    }
}
