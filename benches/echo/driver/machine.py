"""What the figures were measured on."""

import os
import platform
import shutil
import subprocess
from pathlib import Path


def read(path):
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def first_line(command):
    if shutil.which(command[0]) is None:
        return None
    outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return outcome.stdout.strip().splitlines()[0] if outcome.stdout.strip() else None


def describe(root):
    processor = next((line.split(":", 1)[1].strip() for line in (read("/proc/cpuinfo") or "").splitlines()
                      if line.startswith("model name")), None)
    vulnerabilities = Path("/sys/devices/system/cpu/vulnerabilities")
    return {
        "kernel": platform.release(), "command_line": read("/proc/cmdline"), "processor": processor, "cores": os.cpu_count(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "none to be seen",
        "clock": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "congestion_control": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "somaxconn": read("/proc/sys/net/core/somaxconn"),
        "mitigations": {file.name: read(file) for file in sorted(vulnerabilities.glob("*"))} if vulnerabilities.exists() else {},
        "revision": first_line(["git", "-C", str(root), "rev-parse", "--short", "HEAD"]),
        "rustc": first_line(["rustc", "--version"]), "go": first_line(["go", "version"]), "java": first_line(["java", "-version"]),
    }
