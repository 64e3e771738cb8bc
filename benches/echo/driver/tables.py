"""The tables, as markdown."""

from .figures import median, ratio

LIMITS = ("raw", "raw-unframed")


def micros(nanos):
    text = nanos / 1000
    return f"{text:.1f}" if text < 1000 else f"{text:,.0f}"


def headline(samples, cells, peers, base, seed):
    """A row for each cell: ours in absolute figures, then how many times what the others do and need."""
    others = [peer for peer in peers if peer not in (base, *LIMITS)]
    head = ["connections × depth, payload", "messages/s", "p50 / p99 µs", "CPU ns/message"]
    if "raw" in peers:
        head.append("CPU, of bare epoll's")
    head += [f"{peer}: × throughput, × CPU" for peer in others]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in cells:
        rows = samples.of(base, cell)
        if not rows:
            lines.append(f"| {cell.title} | " + " | ".join(["–"] * (len(head) - 1)) + " |")
            continue
        line = [cell.title, f"{median(rows, 'per_second'):,.0f}",
                f"{micros(median(rows, 'latency.p50'))} / {micros(median(rows, 'latency.p99'))}",
                f"{median(rows, 'use.cpu'):,.0f}"]
        if "raw" in peers:
            limit = ratio(rows, samples.of("raw", cell), "use.cpu", seed)
            line.append(f"{limit.middle:.2f}" if limit else "–")
        for peer in others:
            wall = ratio(rows, samples.of(peer, cell), "per_second", seed)
            cpu = ratio(samples.of(peer, cell), rows, "use.cpu", seed)
            mark = "" if wall and wall.is_clear else " ≈"
            line.append(f"{wall.middle:.2f}{mark}, {cpu.middle:.2f}" if wall and cpu else "–")
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def complete(samples, cells, peers, base, seed):
    """A row for each server in each cell, with intervals."""
    head = ["connections × depth, payload", "server", "messages/s", "MB/s", "p50", "p99", "p99.9", "max µs", "CPU ns/message (user + system)",
            "switches/message", "RSS MiB", "server busy", f"{base} × throughput", f"{base} × CPU", "pairs"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in cells:
        own = samples.of(base, cell)
        for peer in peers:
            rows = samples.of(peer, cell)
            if not rows:
                lines.append(f"| {cell.title} | {peer} |" + " – |" * (len(head) - 2))
                continue
            wall = ratio(own, rows, "per_second", seed) if peer != base else None
            cpu = ratio(own, rows, "use.cpu", seed) if peer != base else None
            switches = median(rows, "use.voluntary") + median(rows, "use.involuntary")
            lines.append("| " + " | ".join([
                cell.title, peer, f"{median(rows, 'per_second'):,.0f}", f"{median(rows, 'mb_per_second'):,.1f}",
                *(micros(median(rows, f"latency.{name}")) for name in ("p50", "p99", "p99.9", "max")),
                f"{median(rows, 'use.cpu'):,.0f} ({median(rows, 'use.cpu_user'):,.0f} + {median(rows, 'use.cpu_system'):,.0f})",
                f"{switches:.3f}", f"{median(rows, 'use.resident_kib') / 1024:,.1f}", f"{median(rows, 'use.server_busy'):.2f}",
                str(wall or ""), str(cpu or ""), str(len(rows)),
            ]) + " |")
    return "\n".join(lines)


def bound_by_client(samples, cells, peers):
    """Cells in which the generator had no time left while the server had."""
    bound = []
    for cell in cells:
        for peer in peers:
            rows = samples.of(peer, cell)
            if rows and cell.connections * cell.depth > 1 and median(rows, "use.server_busy") < 0.9:
                bound.append(f"{cell.title} {peer} (server {median(rows, 'use.server_busy'):.0%} busy)")
    return bound


def gates(samples, cells, peers, base, seed):
    """The rows of the gates that these samples can tell."""
    lines = []

    def say(what, limit, found, holds):
        lines.append(f"| {what} | {limit} | {found} | {'holds' if holds else 'missed'} |")

    for cell in cells:
        own = samples.of(base, cell)
        if not own:
            continue
        limit = samples.of("raw", cell)
        if limit and cell.payload in (64, 16_384):
            most = 1.10 if cell.payload == 64 else 1.03
            found = ratio(own, limit, "use.cpu", seed)
            if found:
                say(f"CPU of bare framed epoll's, {cell.title}", f"≤ {most:.2f} ×", str(found), found.middle <= most)
        if limit and (cell.connections, cell.depth, cell.payload) == (1, 1, 64):
            more = (median(own, "latency.p50") - median(limit, "latency.p50")) / 1000
            say(f"p50 over bare framed epoll's, {cell.title}", "≤ 1 µs", f"{more:.2f} µs", more <= 1)
        for peer in peers:
            if peer == base or peer.startswith(("raw", "ours")):
                continue
            rows = samples.of(peer, cell)
            found = ratio(own, rows, "per_second", seed)
            if not found:
                continue
            least = 3 if peer.startswith("getty") and cell.payload == 64 and cell.depth >= 16 else 1
            say(f"throughput of {peer}'s, {cell.title}", f"≥ {least} ×", str(found), found.low >= least)
            if peer.startswith("getty"):
                tail = ratio(own, rows, "latency.p99.9", seed)
                say(f"p99.9 of {peer}'s, {cell.title}", "< 1 ×", str(tail), tail.middle < 1)
        worker = samples.of("ours-workers-1", cell)
        if worker and (cell.connections, cell.depth) == (64, 16):
            found = ratio(worker, own, "use.cpu", seed)
            say(f"CPU with one worker, of inline's, {cell.title}", "≤ 1.5 ×", str(found), bool(found) and found.middle <= 1.5)
    return "\n".join(["| gate | bar | found | |", "|---|---|---|---|", *lines])
