#!/usr/bin/env python3
"""Writes the README's table and picture from a benchmark record, so that they cannot drift from it.

    python3 tools/readme.py results/engine/labels.json

replaces what stands between `<!-- results -->` and `<!-- /results -->` in README.md and writes
docs/images/results.svg. Needs nothing but Python.
"""

import argparse
import html
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results -->", "<!-- /results -->"
COLOURS = {
    "native f32": "#2f7ed8",
    "onnxruntime f32": "#e08e2b",
    "openvino f32": "#7a5bb5",
    "openvino bf16": "#b9a3de",
}
BAR, GAP, LEFT, WIDTH = 14, 14, 250, 860


def measured(record: dict) -> list[dict]:
    """The arms with a figure."""
    return [arm for arm in record["arms"] if arm["status"] == "measured"]


def mode(arm: dict) -> str:
    """Engine and precision as one word pair."""
    return f"{arm['engine']} {arm['precision']}"


def table(record: dict) -> str:
    """One row a model, one column an engine: the median time of one image."""
    arms = measured(record)
    modes = sorted({mode(a) for a in arms}, key=lambda m: list(COLOURS).index(m) if m in COLOURS else 99)
    times = {(a["model"], mode(a)): a["statistics"]["median_ms"] for a in arms}
    facts = {a["model"]: a for a in arms}
    best = lambda model: min(times[model, m] for m in modes if (model, m) in times)
    lines = ["| model | parameters | GMAC | " + " | ".join(f"{m}, ms" for m in modes) + " |"]
    lines.append("|---|--:|--:|" + "--:|" * len(modes))
    for model in sorted(facts, key=best):
        cells = []
        for m in modes:
            value = times.get((model, m))
            text = "–" if value is None else f"{value:.1f}"
            cells.append(f"**{text}**" if value == best(model) else text)
        arm = facts[model]
        size = f"{arm['parameters'] / 1e6:.2f} M | {arm['macs'] / 1e9:.2f}"
        lines.append(f"| `{model}` | {size} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def caption(record: dict) -> str:
    """Where the figures come from, on one line."""
    arms = measured(record)
    first = arms[0]
    size = "×".join(map(str, first["input"]))
    what = "label maps" if first["task"] == "labels" else "class scores"
    engines = ", ".join(f"{e['name']} {e['version']}" for e in record["engines"])
    cpu = record["machine"].get("cpu") or "unknown CPU"
    return (
        f"{cpu}, {first['threads']} threads, input {size}, {first['classes']} classes, {what}, median of "
        f"interleaved rounds, {record['started'][:10]}; {engines}."
    )


def picture(record: dict) -> str:
    """Bars of the time per image, shortest model first; readable on light and dark pages."""
    arms = measured(record)
    models: dict[str, list[dict]] = {}
    for arm in arms:
        models.setdefault(arm["model"], []).append(arm)
    median = lambda arm: arm["statistics"]["median_ms"]
    order = sorted(models, key=lambda m: min(map(median, models[m])))
    scale = (WIDTH - LEFT - 70) / max(map(median, arms))
    parts, y = [], 34
    seen = [m for m in COLOURS if any(mode(a) == m for a in arms)]
    for i, name in enumerate(seen):
        x = LEFT + i * 150
        parts.append(f'<rect x="{x}" y="8" width="12" height="12" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 18}" y="18">{html.escape(name)}</text>')
    for model in order:
        rows = sorted(models[model], key=lambda a: seen.index(mode(a)))
        middle = y + len(rows) * (BAR + 2) / 2 + 4
        parts.append(f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end">{html.escape(model)}</text>')
        for arm in rows:
            length = max(1.0, median(arm) * scale)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[mode(arm)]}"/>')
            parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 11}" class="n">{median(arm):.0f} ms</text>')
            y += BAR + 2
        y += GAP
    style = (
        "text{font:13px system-ui,sans-serif;fill:#24292f}.n{font-size:11px}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img"'
    title = "<title>Milliseconds per image, by model and engine; shorter is better</title>"
    return f"{head}>{title}<style>{style}</style>{''.join(parts)}</svg>\n"


def main() -> None:
    """Rewrites the README's section and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    record = json.loads(parser.parse_args().record.read_text())
    (ROOT / "docs/images").mkdir(exist_ok=True)
    (ROOT / "docs/images/results.svg").write_text(picture(record))
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    section = f"{table(record)}\n\n![Milliseconds per image](docs/images/results.svg)\n\n{caption(record)}"
    readme.write_text(f"{before}{BEGIN}\n{section}\n{END}{after}")


if __name__ == "__main__":
    main()
