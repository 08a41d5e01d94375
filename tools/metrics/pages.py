"""Reads the figures of a core and an edge with the reference parser of OpenMetrics, before and after a command.

Usage: pages.py CORE EDGE -- COMMAND…   (addresses; run.sh gives them). Prints TAP.
"""

import subprocess
import sys
import time
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

# What an operator must be able to see, and what kind of figure it is.
WANTED = {
    "sessions by state": ("hearth_sessions", "gauge"),
    "stanzas of clients": ("hearth_stanzas_received", "counter"),
    "stanzas to clients": ("hearth_stanzas_sent", "counter"),
    "stanzas at the edge": ("hearth_edge_stanzas_received", "counter"),
    "depth of the store's queues": ("hearth_storage_waiting", "gauge"),
    "depth of the shards' inboxes": ("hearth_shard_inbox", "gauge"),
    "depth of the links' queues": ("hearth_edge_link_waiting_bytes", "gauge"),
    "credit of the edges": ("hearth_link_credit_bytes", "gauge"),
    "credit of the shards": ("hearth_edge_link_credit_bytes", "gauge"),
    "round trip of links": ("hearth_link_round_trip_seconds", "histogram"),
    "stall of event loops": ("hearth_edge_turn_seconds", "histogram"),
    "stall of shards": ("hearth_shard_turn_seconds", "histogram"),
    "commit latency": ("hearth_storage_appends_commit_seconds", "histogram"),
    "certificate expiry": ("hearth_edge_certificate_expiry_timestamp_seconds", "gauge"),
}
GROWS = ("_total", "_bucket", "_count", "_sum")

said = {True: 0, False: 0}


def tell(good, what, why=""):
    said[good] += 1
    print(f"{'ok' if good else 'not ok'} {sum(said.values())} - {what}", flush=True)
    if not good:
        print(f"# {why}")


def read(address):
    """The families of a page, by name, and its samples, by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        kind = answer.headers["Content-Type"]
        text = answer.read().decode()
    if kind != "application/openmetrics-text; version=1.0.0; charset=utf-8":
        raise ValueError(f"it is {kind}")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    return families, samples


def main():
    core, edge, _, *command = sys.argv[1:]
    pages = {"core": core, "edge": edge}
    before = {}
    for name, address in pages.items():
        try:
            before[name] = read(address)
            tell(True, f"the page of the {name} is OpenMetrics, {len(before[name][1])} samples")
        except ValueError as error:
            tell(False, f"the page of the {name} is OpenMetrics", error)
    if len(before) == len(pages):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        time.sleep(2)  # an edge publishes once a second
        after = {name: read(address) for name, address in pages.items()}
        for name, (_, samples) in after.items():
            old = before[name][1]
            back = [key for key, value in old.items() if key[0].endswith(GROWS) and samples.get(key, -1) < value]
            grown = [key for key, value in old.items() if key[0].endswith(GROWS) and samples.get(key, -1) > value]
            tell(not back and len(grown) > 10, f"counters of the {name} only grow", f"back {back}, grown {grown}")
        families = {name: family for page, _ in after.values() for name, family in page.items()}
        samples = {key: value for _, page in after.values() for key, value in page.items()}
        for what, (name, kind) in WANTED.items():
            family = families.get(name)
            known = family is not None and family.type == kind and family.samples
            tell(bool(known), f"{what}: {name}", family)
        for name in ("hearth_stanzas_received_total", "hearth_edge_stanzas_sent_total"):
            tell(samples.get((name,), 0) >= 200, f"{name} counts the chat", samples.get((name,)))
        trips = samples.get(("hearth_link_round_trip_seconds_count",), 0)
        tell(trips >= 4, "round trips are measured", trips)
    print(f"{said[True]} ok, {said[False]} not ok")
    return said[False] > 0


if __name__ == "__main__":
    sys.exit(main())
