"""The cases of the Autobahn test suite, played by kosoku, which runs them without Python 2: a fuzzing client against our server,
a fuzzing server against our client."""

import json
import shutil

from driver.coordinator import free_port
from places import OURS, WORK, Program, python_with, serve

# kosoku 0.1.0 fails by itself in most cases of compression, 12 and 13: what it kept from Python 2 hashes text. One that it can
# play is here; --all has them all.
QUICK = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.1.3"]


def suites(everything):
    cases = ["*"] if everything else QUICK
    seconds = 3600 if everything else 600
    return {
        "conformance of our server": lambda outcome: of_server(outcome, cases, seconds),
        "conformance of our client": lambda outcome: of_client(outcome, cases, seconds),
    }


def kosoku(*flags, cases):
    python = python_with("kosoku", "websockets")
    wanted = [flag for case in cases for flag in ("-i", case)]
    return [python.parent / "kosoku", *flags, *wanted]


def of_server(outcome, cases, seconds):
    reports = fresh("of_server")
    command = kosoku("-o", reports, "-p", "4", cases=cases)
    _, address = serve("--deflate", "on")
    Program(*command, address).wait(seconds)
    tell(outcome, "conformance of our server", reports)


def of_client(outcome, cases, seconds):
    reports = fresh("of_client")
    command = kosoku("-o", reports, "-m", "fuzzingserver", cases=cases)
    address = f"127.0.0.1:{free_port()}"
    fuzzer = Program(*command, address)
    wait_for_port(address)
    client = Program(OURS, "fuzzed", "--at", address, "--agent", "seamio", "--deflate", "on")
    if client.wait(seconds) != 0:
        raise RuntimeError(f"the client ended with {client.lines[-3:]}")
    fuzzer.wait(120)
    tell(outcome, "conformance of our client", reports)


def fresh(name):
    reports = WORK / "reports" / name
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    return reports


def tell(outcome, suite, reports):
    results = [json.loads(path.read_text()) for path in reports.rglob("*_case_*.json")]
    if not results:
        raise RuntimeError("no reports were written")
    for result in sorted(results, key=lambda result: [int(part) for part in result["id"].split(".")]):
        verdict = result["behavior"]
        if verdict == "OK" and result["behaviorClose"] not in ("OK", "INFORMATIONAL"):
            verdict = f"close {result['behaviorClose']}"
        outcome.add(suite, result["id"], verdict, "" if verdict == "OK" else result.get("result", ""))


def wait_for_port(address, tries=900):
    import socket
    import time
    host, port = address.split(":")
    for _ in range(tries):
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nobody listens at {address}")
