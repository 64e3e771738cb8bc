"""The samples as a page of tables."""

import os
import platform
import shutil
import statistics
import subprocess

NUMBERS = ("per_second", "p50_ms", "p99_ms", "statements_per_tx", "commits_per_tx", "syncs_per_tx", "coordinator_cpu_us",
           "database_cpu_us", "left", "failed", "others_cores")
HEAD = ("clients", "coordinator", "tx/s", "p50 ms", "p99 ms", "statements", "commits", "syncs", "CPU µs", "database CPU µs", "left",
        "failed", "tx/s ×", "CPU ×", "both CPU ×", "others")


def medians(rows, who, numbers):
    """One row per scenario, clients and whoever `who` names, in the order in which they were first measured."""
    groups = {}
    for row in rows:
        groups.setdefault((row["scenario"], row["clients"], row[who]), []).append(row)
    found = {}
    for key, group in groups.items():
        known = {name: [row[name] for row in group if row[name] is not None] for name in numbers}
        found[key] = {name: statistics.median(values) if values else None for name, values in known.items()}
    return found


def tables(rows, head, names, found, line):
    """A table for each scenario. `line` makes a row of it out of the name, the clients, the medians and those of the first name."""
    lines = []
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        lines += ["", f"## {scenario}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for clients in dict.fromkeys(row["clients"] for row in rows):
            base = found.get((scenario, clients, names[0]))
            for name in names:
                row = found.get((scenario, clients, name))
                if row and base:
                    cells = line(name, clients, row, base, scenario)
                    lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return lines


def described_as(command, described):
    return (f"`{command.strip()}` at {described['revision']}: {described['processor']}, {described['cores']} cores, Linux {described['kernel']}, "
            f"{described['database']}, {described['java']}.")


def times(more, less):
    """How many times `less` is in `more`."""
    return f"{more / less:.1f}" if more and less else "–"


def shown(value, digits):
    return "–" if value is None else f"{value:.{digits}f}"


def line(peer, clients, row, base, _scenario):
    both = [sum(r[name] or 0 for name in ("coordinator_cpu_us", "database_cpu_us")) if r["coordinator_cpu_us"] else None for r in (row, base)]
    return (clients, peer, shown(row["per_second"], 0), shown(row["p50_ms"], 1), shown(row["p99_ms"], 1),
            shown(row["statements_per_tx"], 1), shown(row["commits_per_tx"], 2), shown(row["syncs_per_tx"], 2),
            shown(row["coordinator_cpu_us"], 0), shown(row["database_cpu_us"], 0), shown(row["left"], 0), shown(row["failed"], 0),
            times(base["per_second"], row["per_second"]), times(row["coordinator_cpu_us"], base["coordinator_cpu_us"]),
            times(*both), shown(row["others_cores"], 1))


def page(command, described, peers, rows, took):
    found = medians(rows, "peer", NUMBERS)
    noise = statistics.median(row["others_cores"] for row in rows)
    lines = [
        "<!-- Written by benches/sql/run. -->",
        described_as(command, described), "",
        f"Medians of the samples, {len(rows)} in {took / 60:.0f} minutes. Statements, commits that wrote something, syncs and CPU are per transaction; the database "
        f"counts the first three. `left` are transactions that were not finished some seconds after the load. × says how many times "
        f"better {peers[0]} is: transactions per second, per CPU second of the coordinator, and per CPU second of coordinator and database together. "
        f"`others` are the cores that other processes of the machine used meanwhile ({noise:.1f} in the median): with more than 0.2 the times say "
        "little, the counts what they always say.",
    ]
    lines += tables(rows, HEAD, peers, found, line)
    return "\n".join(lines) + "\n"


def first_line(*command):
    if shutil.which(command[0]) is None:
        return None
    outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return outcome.stdout.strip().splitlines()[0] if outcome.stdout.strip() else None


def machine(root, database):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        processor = next((text.split(":", 1)[1].strip() for text in file if text.startswith("model name")), None)
    return {"kernel": platform.release(), "processor": processor, "cores": os.cpu_count(), "database": database,
            "revision": first_line("git", "-C", str(root), "rev-parse", "--short", "HEAD"), "java": first_line("java", "-version")}
