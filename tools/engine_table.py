#!/usr/bin/env python3
"""Writes a table of docs/engine.md from benchmark records, so that it cannot drift from them.

    python3 tools/engine_table.py results/engine/*.json
    python3 tools/engine_table.py results/avx2/labels.json results/avx2/encoders.json --mark avx2

replaces what stands between `<!-- MARK -->` and `<!-- /MARK -->` in docs/engine.md. A ratio is another engine's
time divided by ours, from the medians of visits in the same round: the median over the rounds, and their quartiles.
Needs nothing but Python.
"""

import argparse
import json
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = {"onnxruntime f32": "ORT f32", "openvino f32": "OpenVINO f32", "openvino bf16": "OpenVINO bf16"}


def rounds(arm: dict) -> dict[int, float]:
    """The median of each visit by its round."""
    return {visit["round"]: statistics.median(visit["ms"]) for visit in arm["visits"] if visit["ms"]}


def ratio(own: dict, other: dict) -> str:
    """How many times as long the other arm takes, with quartiles where there are enough rounds."""
    a, b = rounds(own), rounds(other)
    ratios = sorted(b[r] / a[r] for r in a.keys() & b.keys())
    if not ratios:
        return "–"
    middle = statistics.median(ratios)
    if len(ratios) < 4:
        return f"{middle:.2f}"
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def modes(record: dict) -> set[str]:
    """Engines and precisions with a figure."""
    return {f"{arm['engine']} {arm['precision']}" for arm in record["arms"] if arm["status"] == "measured"}


def rows(record: dict, peers: list[str]) -> list[str]:
    """One row a model and number of threads."""
    groups: dict[tuple, dict[str, dict]] = {}
    for arm in record["arms"]:
        if arm["status"] == "measured":
            key = (arm["model"], arm["threads"], arm["task"], "×".join(map(str, arm["input"][2:])))
            groups.setdefault(key, {})[f"{arm['engine']} {arm['precision']}"] = arm
    lines = []
    for (model, threads, task, size), arms in groups.items():
        own = arms.get("native f32")
        if own is None:
            continue
        cells = [ratio(own, arms[peer]) if peer in arms else "–" for peer in peers]
        ms = f"{own['statistics']['median_ms']:.1f}"
        task = "scores" if record["suite"] == "encoders" else task
        lines.append(f"| `{model}` {size} → {task} | {threads} | {ms} | " + " | ".join(cells) + " |")
    return lines


def memory(records: list[dict]) -> list[str]:
    """Peak memory and start-up of the arms that were tried in processes of their own, in the first record."""
    lines = []
    for arm in records[0]["arms"]:
        if arm["status"] == "measured" and arm["model"] == records[0]["arms"][0]["model"]:
            start = f"{arm['load_ms'] + arm['first_ms']:.0f}" if arm.get("first_ms") else "–"
            peak = f"{arm['peak_rss_bytes'] / 1e6:.0f}" if arm.get("peak_rss_bytes") else "–"
            lines.append(f"| {arm['engine']} {arm['precision']} | {peak} | {start} |")
    return lines


def section(records: list[dict]) -> str:
    """The whole text between the marks."""
    first = records[0]
    engines = ", ".join(f"{e['name']} {e['version']}" for e in first["engines"])
    cpu = first["machine"].get("cpu") or "unknown CPU"
    units = "AVX-512" if "avx512f" in first["machine"]["isa"] else "AVX2"
    peers = [peer for peer in PEERS if any(peer in modes(record) for record in records)]
    lines = ["| work | threads | native f32, ms |" + "".join(f" × {PEERS[p]} |" for p in peers)]
    lines.append("|---|--:|--:|" + "--:|" * len(peers))
    for record in records:
        lines += rows(record, peers)
    model = first["arms"][0]["model"]
    lines += ["", f"`{model}`, in a process of its own:", ""]
    lines += ["| engine | peak memory, MB | load, pack and first run, ms |", "|---|--:|--:|", *memory(records), ""]
    lines += [f"{cpu} with {units}, {first['started'][:10]}; {engines}. Median over the rounds (quartiles).", "", "```sh"]
    lines += [" ".join(["slicewise", *record["command"][1:]]) for record in records]
    return "\n".join([*lines, "```"])


def main() -> None:
    """Rewrites the section of docs/engine.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--mark", default="results")
    args = parser.parse_args()
    records = [json.loads(path.read_text()) for path in args.records]
    begin, end = f"<!-- {args.mark} -->", f"<!-- /{args.mark} -->"
    page = ROOT / "docs/engine.md"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{section(records)}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
