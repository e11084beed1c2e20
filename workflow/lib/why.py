"""Why a file or target would be made again, in words.

python -m workflow.lib.why --scale laptop TARGET
"""

import argparse
import ast
import json
import re
from collections.abc import Iterator

from stages.lib.core.errors import run
from workflow.lib.fingerprints import env_of
from workflow.lib.plan import dry_run
from workflow.lib.settings import ROOT

# Python literals with commas between them, as Snakemake prints params
LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,'"]+""")
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
SENTENCES = {
    "Code has changed since last execution": "its command is another",
    "Software environment definition has changed since last execution": "its environment is another",
    "Set of input files has changed since last execution": "it reads other files",
    "Forced execution": "it was asked for",
}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    lines = list(reasons(dry_run(args.scale, [args.target])))
    print("\n".join(lines) or f"{args.target} is up to date")


def reasons(text: str) -> Iterator[str]:
    """One line a job of a dry run's text: rule, its first output, and why."""
    makers: dict[str, str] = {}
    for block in re.split(r"^(?:local)?(?=rule \w+:)", text, flags=re.MULTILINE)[1:]:
        rule = block[5 : block.index(":")]
        reason = re.search(r"^    reason: (.*)$", block, flags=re.MULTILINE)
        output = re.search(r"^    output: (.*)$", block, flags=re.MULTILINE)
        if reason and output:
            outputs = output[1].split(", ")
            makers |= dict.fromkeys(outputs, rule)
            yield f"{rule} ({outputs[0]}): {in_words(reason[1], makers)}"


def in_words(reason: str, makers: dict[str, str]) -> str:
    """Snakemake's reason for a job. `makers`: file -> rule, of the jobs that come before it."""
    said = []
    for part in reason.split("; "):
        name, _, rest = part.partition(": ")
        files = rest.split(", ")
        if name == "Missing output files":
            said.append(f"{_files(files)} is not there")
        elif name == "Updated input files":
            said.append(f"{_files(files)} has other content")
        elif name == "Input files updated by another job":
            rules = dict.fromkeys(makers[file] for file in files if file in makers)
            said.append(f"{' and '.join(rules) or _files(files)} will make what it reads anew")
        elif name.startswith("Params have changed"):
            said.append(_params(rest))
        else:
            said.append(SENTENCES.get(part.strip(), part.strip()))
    return "; ".join(said)


def _params(rest: str) -> str:
    before, _, now = rest.partition("before: ")[2].partition(" now: ")
    old, new = ([_value(t) for t in LITERAL.findall(part) if t.strip()] for part in (before, now))
    said = []
    if any(_is_fingerprint(v) for v in new):
        marks = [v for v in new if _is_fingerprint(v)]
        environments = {env_of(file.stem): file.stem for file in (ROOT / "envs").glob("*.lock")}
        said += [f"the environment {environments[v]} is another" if v in environments else "its code is another"
                 for v in marks]  # fmt: skip
    old, new = ([v for v in values if not _is_fingerprint(v) and v != NOTHING] for values in (old, new))
    olds, news = ([v for v in values if isinstance(v, dict)] for values in (old, new))
    if len(olds) == len(news) == 1:
        said += [
            f"{key}: {_short(olds[0].get(key))} -> {_short(news[0].get(key))}"
            for key in sorted(olds[0].keys() | news[0].keys())
            if olds[0].get(key) != news[0].get(key)
        ]
        old, new = ([v for v in values if not isinstance(v, dict)] for values in (old, new))
    if old or new:
        said.append(f"parameters {_short(old)} -> {_short(new)}")
    return ", ".join(said)


NOTHING = "<nothing exclusive>"


def _value(text: str) -> object:
    """A param as Snakemake prints it: a literal, which may hold JSON."""
    text = text.strip()
    try:
        value = ast.literal_eval(text)
        return json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value
    except (ValueError, SyntaxError):
        return text


def _is_fingerprint(value: object) -> bool:
    return isinstance(value, str) and FINGERPRINT.fullmatch(value) is not None


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _files(files: list[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} (and {len(files) - 1} more)"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="why", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("target")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
