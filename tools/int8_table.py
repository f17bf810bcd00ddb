"""Puts the measured speed and accuracy of int8 and bf16 into docs/quantization.md.

    python3 tools/int8_table.py results/quantization/{speed,accuracy,quantize_static}.json

The first two are records of `slicewise bench quantization`, the second one's arms have an accuracy; the third is
what `tools/int8_check.py` wrote.
"""

import json
import shlex
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "quantization.md"
BEGIN, END = "<!-- engines -->", "<!-- end of engines -->"


def measured(record):
    return [arm for arm in record["arms"] if arm["status"] == "measured"]


def milliseconds(arm):
    return arm["statistics"]["median_ms"]


def command(record):
    arguments = [Path(record["command"][0]).name, *record["command"][1:]]
    return shlex.join(arguments)


def beside_quantize_static(record):
    """One row a model: ours and theirs."""
    lines = ["| network | weights | SQNR, dB | theirs | foreground | theirs | in ONNX Runtime, ms | theirs | theirs : ours |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for row in record["rows"]:
        kinds = ("ours", "theirs")
        cells = [f"{row[k]['sqnr_db']:.1f}" for k in kinds] + [f"{100 * row[k]['foreground']:.1f} %" for k in kinds]
        cells += [f"{row['ms'][k]:.1f}" for k in kinds] + [f"{row['ratio']:.3f}"]
        weights = "trained" if row["trained"] else "random"
        lines.append(f"| `{row['model']}` | {weights} | {' | '.join(cells)} |")
    return lines


def put(page, begin, end, lines):
    """The page with what stands between two marks replaced."""
    before, rest = page.split(begin)
    return before + "\n".join([begin, *lines, end]) + rest.split(end)[1]


def main():
    speed, accuracy, static = (json.loads(Path(path).read_text()) for path in sys.argv[1:4])
    lines = ["| network, 512×512 → labels | engine | f32, ms | bf16, ms | int8, ms | f32 : int8 |", "|---|---|--:|--:|--:|--:|"]
    arms = measured(speed)
    for model in dict.fromkeys(arm["model"] for arm in arms):
        for engine in dict.fromkeys(arm["engine"] for arm in arms):
            ms = {a["precision"]: milliseconds(a) for a in arms if (a["model"], a["engine"]) == (model, engine)}
            cells = [f"{ms[p]:.1f}" if p in ms else "–" for p in ("f32", "bf16", "int8")]
            lines.append(f"| `{model}` | {engine} | {' | '.join(cells)} | {ms['f32'] / ms['int8']:.2f} |")
    lines += ["", "Against native f32, trained networks, 128×128, on the engine that is timed:", ""]
    lines += ["| network | engine | labels | foreground | mean Dice | worst Dice |", "|---|---|--:|--:|--:|--:|"]
    for arm in measured(accuracy):
        kept = arm.get("accuracy")
        if kept and arm["precision"] != "f32":
            figures = [kept[k] for k in ("label_agreement", "foreground_agreement", "mean_dice", "worst_class_dice")]
            cells = " | ".join(f"{f:.4f}" for f in figures)
            lines.append(f"| `{arm['model']}` | {arm['engine']} {arm['precision']} | {cells} |")
    machine = speed["machine"]
    lines += ["", f"{machine['cpu']}, {speed['started'][:10]}, {arms[0]['threads']} threads, medians of interleaved rounds.", ""]
    lines += ["```sh", command(speed), command(accuracy), "```"]
    page = put(PAGE.read_text(), BEGIN, END, lines)
    PAGE.write_text(put(page, "<!-- static -->", "<!-- end of static -->", beside_quantize_static(static)))


if __name__ == "__main__":
    main()
