"""The samples as a page of tables."""

import statistics

from tables import described_as, machine, medians, shown, tables, times

__all__ = ["machine", "page"]

NUMBERS = ("per_second", "p50_ms", "p99_ms", "client_cpu_us", "memory_mib", "coordinator_cpu_us", "database_cpu_us", "failed", "left",
           "others_cores")
HEAD = ("at once", "client", "tx/s", "p50 ms", "p99 ms", "client CPU µs", "memory MiB", "coordinator CPU µs", "database CPU µs", "failed",
        "left", "tx/s ×", "CPU ×", "memory ×", "others")


def line(name, clients, row, base, scenario):
    at = scenario.startswith("at")
    return (clients, name, shown(row["per_second"], 0), shown(row["p50_ms"], 2), shown(row["p99_ms"], 2), shown(row["client_cpu_us"], 0),
            shown(row["memory_mib"], 0), shown(row["coordinator_cpu_us"], 0), shown(row["database_cpu_us"], 0) if at else "–",
            shown(row["failed"], 0), shown(row["left"], 0) if at else "–", times(base["per_second"], row["per_second"]),
            times(row["client_cpu_us"], base["client_cpu_us"]), times(row["memory_mib"], base["memory_mib"]), shown(row["others_cores"], 1))


def page(command, described, names, rows, took):
    found = medians(rows, "client", NUMBERS)
    noise = statistics.median(row["others_cores"] for row in rows)
    lines = [
        "<!-- Written by benches/client/run. -->",
        described_as(command, described), "",
        f"Medians of the samples, {len(rows)} in {took / 60:.0f} minutes. CPU is per transaction, with what is done after the load; the "
        f"client's is that of the whole application. `left` are rows of the undo log that were not deleted some seconds after the load. × says "
        f"how many times better {names[0]} is: transactions per second, CPU of the client's process, its memory. `others` are the cores that "
        f"other processes of the machine used meanwhile ({noise:.1f} in the median): with more than 0.2 the times say little.",
    ]
    lines += tables(rows, HEAD, names, found, line)
    return "\n".join(lines) + "\n"
