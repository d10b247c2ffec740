"""Tables of what was found, in README and on the status page, and hours, on the landing page too.  Nothing measured is typed.

    python book/_tools/glance.py      writes them

The landing page includes README's.  Numbers come from book/results/*.json and book/appendix/tables.md.
"""

import json
import re
import statistics
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- made by book/_tools/glance.py -->\n", "<!-- end -->\n"
ENTRY = re.compile(
    r"(?:: |  )- (?P<column>.+?): \*\*(?P<status>.+?)\*\*(?:; (?P<note>.+?))?"
    r"(?P<evidence>: (?:(?:, )?(?:\{doc\})?`[^`]+`)+)?"
)
TOGETHER = {"digits": 20, "pixels": 4, "labels": 3}  # how many comparisons are judged together on the pages of these
NOT_TRIED = (
    "Training on ImageNet or COCO: the accuracies of the paper are quoted as such, and nothing here repeats them."
)


def table(root: Path = ROOT) -> str:
    """The table in Markdown."""
    rows = [("exact", exact(root))]
    rows += [("measured", found(root)) for found in (recall, digits, pixels, labels)]
    rows += [("it loses", found(root)) for found in (speed, detector)]
    rows += [("not tried", NOT_TRIED)]
    return "| | What we found |\n|---|---|\n" + "".join(f"| **{kind}** | {words} |\n" for kind, words in rows)


def record(root: Path, name: str) -> dict:
    """A recorded run."""
    return json.loads((root / "book" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def run(root: Path, name: str) -> tuple[dict, int]:
    """The figures of a recorded run and how many seeds it has."""
    found = record(root, name)
    return found["figures"], len(found["seeds"])


def entries(root: Path = ROOT) -> list[dict]:
    """What the page about the paper's tables says of each cell; `evidence` is a list of names."""
    found, table, above = [], "", ""
    for line in (root / "book" / "appendix" / "tables.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            table = line
        elif not line.startswith((": - ", "  - ")):
            above = line
        elif match := ENTRY.fullmatch(line):
            evidence = re.findall(r"`/?([^`]+)`", match["evidence"] or "")
            found.append({**match.groupdict(""), "table": table, "rows": above, "evidence": evidence})
        else:
            raise ValueError(f"an entry is `column: **status**; note: evidence`, not {line}")
    return found


def recorded(root: Path = ROOT) -> str:
    """The table of the recorded runs: what, by which command, where, with which seeds."""
    rows = "| Result | Command | Device | Seeds |\n|---|---|---|---|\n"
    for path in sorted((root / "book" / "results").glob("*.json")):
        found = record(root, path.stem)
        seeds = ", ".join(map(str, found["seeds"])) or "none"
        rows += f"| `{path.stem}` | `{found['command']}` | {found['device']} | {seeds} |\n"
    return rows


CHAPTERS = {1: range(1, 6), 2: range(6, 13), 3: range(13, 18), 4: range(18, 21)}  # of each part


def minutes(root: Path = ROOT) -> list[tuple[str, int, int]]:
    """(kind, part, minutes with its exercises) of each chapter ("ch") and project, from the plan of the course."""
    plan = (root / "book" / "classroom" / "plan.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \{doc\}`(ch|project)(\d+)b?` \| (\d+) \|$", plan, re.M)
    part_of = {chapter: part for part, chapters in CHAPTERS.items() for chapter in chapters}
    return [(kind, int(n) if kind == "project" else part_of[int(n)], int(length)) for kind, n, length in rows]


def times(root: Path = ROOT) -> str:
    """How long each path takes, in a sentence."""
    found = minutes(root)
    memory, vision, detection, beyond = (
        round(sum(length for _, one, length in found if one == part) / 60) for part in CHAPTERS
    )
    alone = [length for kind, _, length in found if kind == "ch"]
    return (
        f"With its exercises a chapter takes {min(alone)} to {max(alone)} minutes, Part 1 takes {memory} hours, "
        f"Part 2 {vision}, Part 3 {detection}, Part 4 {beyond}, and all of it {sum(x for *_, x in found) / 60:.0f}.\n"
    )


PACE = 200  # words a minute
NUMBERS = {"two": 2, "four": 4, "ten": 10, "fifteen": 15}  # of weeks and sessions in the plan


def words(text: str) -> int:
    """How many words a page of the book asks to read: without equations, code, directives and what is folded."""
    for apart in (
        r"<details>.*?</details>",
        r"^(`{3,})(?!\{(?:note|tip|admonition)).*?^\1",
        r"\$\$.*?\$\$([ \t]*\([\w-]+\))?",
        r"\$[^$\n]+\$",
    ):
        text = re.sub(apart, " ", text, flags=re.M | re.S)
    text = re.sub(r"\{[\w:]+\}|\]\([^)]*\)|<[^>\n]*>", " ", text)
    return len(re.findall(r"[^\W\d_][\w'’-]*", text))


def reading(root: Path = ROOT) -> float:
    """Hours to read the text of all parts at that pace."""
    count = 0
    for path in (root / "book").glob("part*/*.*"):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
            text = "\n\n".join("".join(cell["source"]) for cell in cells)
        count += words(text)
    return count / PACE / 60


def courses(root: Path = ROOT) -> dict[str, float]:
    """{"four": hours in class} for each course of the plan: its weeks times its sessions."""
    plan = (root / "book" / "classroom" / "plan.md").read_text(encoding="utf-8")
    found = re.findall(r"^## (\w+) weeks: .*\n\n(\w+) sessions of (\d+) minutes a week", plan, re.M)
    rows = [(weeks.lower(), NUMBERS[sessions.lower()], int(length)) for weeks, sessions, length in found]
    return {weeks: NUMBERS[weeks] * sessions * length / 60 for weeks, sessions, length in rows}


def paths(root: Path = ROOT) -> dict[str, str]:
    """The hours of the three ways through the book, a sentence each."""
    classes = [f"{hours:.0f} over {weeks}" for weeks, hours in courses(root).items()]
    classes[0] = classes[0].replace(" over", " hours in class over", 1) + " weeks"
    return {
        "read": f"Reading the text alone takes about {reading(root):.0f} hours at {PACE} words a minute, "
        "code and equations not counted.",
        "run": f"With all exercises and projects it takes about {sum(row[-1] for row in minutes(root)) / 60:.0f} hours.",
        "teach": f"A course takes {', '.join(classes[:-1])} or {classes[-1]}.",
    }


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def exact(root: Path) -> str:
    count = Counter(entry["status"] for entry in entries(root))
    return (
        "The library gives what the authors' code gives, within 1e-6 in float64. "
        "Of the entries in our list of the paper's tables "
        f"{count['equal']} are equal, {count['within 1 %']} agree within 1 %, {count['transcribed']} are settings copied, "
        f"{count['measured']} were measured in small, {count['out of reach']} are out of reach."
    )


def recall(root: Path) -> str:
    figures, seeds = run(root, "ch03_recall")
    pairs = figures["pairs"]
    few, many = pairs.index(2), len(pairs) - 1

    def share(model, column):
        return percent(statistics.mean(row[column] for row in figures[f"accuracy_{model}"]))

    return (
        f"Recall of {pairs[many]} pairs, in a memory trained on up to 8: "
        f"matrix {share('matrix', many)}, LSTM {share('lstm', many)}; "
        f"of {pairs[few]} pairs: matrix {share('matrix', few)}, LSTM {share('lstm', few)} ({seeds} seeds)."
    )


def verdict(what: str, first: list[float], second: list[float]) -> str:
    from vil_lite.statistics import paired  # it brings torch, which the other tools do without

    clear = paired(first, second, comparisons=TOGETHER[what]).clear
    return "told apart" if clear else "cannot be told apart"


def digits(root: Path) -> str:
    figures, seeds = run(root, "ch11_training")
    settings = defaultdict(list)
    for name, accuracies in figures["comparison"].items():
        settings[name.rsplit(" ", 1)[0]].append(accuracies[-1])
    runs = {
        model: max((values for name, values in settings.items() if name.startswith(model)), key=statistics.mean)
        for model in ("ViL", "DeiT-III-T")
    }
    best = {model: percent(statistics.mean(values)) for model, values in runs.items()}
    told = verdict("digits", runs["ViL"], runs["DeiT-III-T"])
    size = {model: f"{count:,}" for model, count in figures["parameters"].items()}
    return (
        f"Handwritten digits of 8 × 8 pixels after {figures['epochs']} epochs: ViL {best['ViL']} with {size['ViL']} parameters, "
        f"DeiT-III-T {best['DeiT-III-T']} with {size['DeiT-III-T']} ({seeds} seeds, rates tuned for both: {told})."
    )


def pixels(root: Path) -> str:
    figures, seeds = run(root, "ch18_segmentation")
    cost = run(root, "ch18_cost")[0]["pixels"]
    most = max(cost, key=int)
    scores = {
        model: [statistics.mean(ious(seed["confusion"])) for seed in figures["size"][model]["64"]]
        for model in ("ViL", "ViT", "U-Net")
    }
    told = {other: verdict("pixels", scores["ViL"], scores[other]) for other in ("ViT", "U-Net")}
    same = len(set(told.values())) == 1
    said = f"either: {told['ViT']}" if same else "; ".join(f"{other}: {word}" for other, word in told.items())
    found = ", ".join(f"{model} {percent(statistics.mean(scores[model]))}" for model in scores)
    step = cost[most]["step"]
    return (
        f"A class for every pixel of drawn airfields, models of one size: mean IoU {found} ({seeds} seeds; ViL against {said}). "
        f"At {most} pixels a training step of ViL takes {step['ViL'] / step['U-Net']:.1f} times as long as the U-Net's, "
        f"the ViT's {step['ViT'] / step['U-Net']:.0f} times."
    )


def labels(root: Path) -> str:
    figures, seeds = run(root, "ch19_self_supervision")
    most = max(figures["plan"]["fine"], key=int)

    def mean(model, start):
        return statistics.mean(figures["labels"][model][start][most])

    def told(model):
        runs = figures["labels"][model]
        return verdict("labels", runs["pre-trained"][most], runs["scratch"][most])

    line = statistics.mean(seed[most]["linear"] for seed in figures["frozen"]["pixels as they are"])
    found = ", ".join(
        f"{model} from {mean(model, 'scratch'):.1f} to {mean(model, 'pre-trained'):.1f} % ({told(model)})"
        for model in ("ViL", "ViT")
    )
    return (
        f"{most} labels for each class of Fashion-MNIST, after pre-training without labels: {found}; "
        f"logistic regression on the pixels {line:.1f} % ({seeds} seeds)."
    )


def ious(table: list[list[int]]) -> list[float]:
    """Of each class of a table of confusions (chapter 18)."""
    columns = [sum(column) for column in zip(*table)]
    return [row[a] / (sum(row) + columns[a] - row[a]) for a, row in enumerate(table)]


def speed(root: Path) -> str:
    found = record(root, "speed_models")
    figures, cores = found["figures"]["float32"], re.search(r"(\d+) cores", found["device"])[1]
    least, most = min(figures, key=int), max(figures, key=int)
    return (
        f"A training step of ViL-T takes {figures[least]['step']['ratio']:.1f} times as long as one of ViT-T at {least} pixels, "
        f"{figures[most]['step']['ratio']:.2f} times at {most} ({cores} CPU cores)."
    )


def detector(root: Path) -> str:
    found, long = (record(root, name)["figures"] for name in ("ch15_compare", "ch15_ship"))
    slower = record(root, "ch15_cost")["figures"]["models"]["yolov8n-vil"]["latency_ratio"]
    plain, vil = (
        (statistics.mean(one["metrics"]["mAP50-95"] for one in found["models"][name]), long["models"][name])
        for name in ("yolov8n", "yolov8n-vil")
    )
    gap = found["differences"]["yolov8n"]
    told = "cannot be told apart" if gap["low"] < 0 < gap["high"] else "higher" if gap["low"] > 0 else "lower"
    return (
        f"In YOLOv8n on drawn scenes, {len(found['models']['yolov8n'])} runs each from one trained start: mAP50-95 {vil[0]:.3f} "
        f"with ViL, {plain[0]:.3f} without ({told}); {percent(1 - vil[1]['parameters'] / plain[1]['parameters'])} fewer "
        f"parameters, {slower:.2f} times the latency. Trained for longer, one run each: {vil[1]['fresh']['mAP50-95']:.3f} and "
        f"{plain[1]['fresh']['mAP50-95']:.3f}."
    )


def pages(root: Path = ROOT) -> dict[Path, str]:
    """The files that hold what is made here, as they should be."""
    found, hours = {}, paths(root)
    readme = f"{table(root)}\n{times(root).rstrip()} {hours['read']} {hours['teach']}\n"
    for name, made in {"README.md": readme, "book/appendix/status.md": recorded(root)}.items():
        before, _, rest = (root / name).read_text(encoding="utf-8").partition(BEGIN)
        found[root / name] = before + BEGIN + made + END + rest.partition(END)[2]
    landing = (root / "book" / "index.md").read_text(encoding="utf-8")
    for way, sentence in hours.items():
        card = re.compile(f"(<!-- {way}: glance.py -->).*?(<!-- end -->)")
        landing = card.sub(rf"\g<1>{sentence}\g<2>", landing)
    return found | {root / "book" / "index.md": landing}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
