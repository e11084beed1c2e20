"""Check a data set of clips: files, boxes against masks, fingertips and keypoints against geometry.

python -m stages.hands.validate_clips --dataset data/rendered/laptop/train/dataset [--report report.json]

Ends with an error that names the first frames where something is wrong.
"""

import argparse
from itertools import islice
from pathlib import Path

from stages.hands.validation import problems, read_coco
from stages.lib.core.artifacts import write_json
from stages.lib.core.errors import InputError, run

SHOWN = 5


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = Path(args.dataset)
    coco = read_coco(folder)
    found = problems(folder)
    first = list(islice(found, SHOWN))
    if first:
        more = sum(1 for _ in found)
        raise InputError(
            f"{folder} is not valid: {'; '.join(first)}{f'; and {more} more' if more else ''}. Compose the clips again"
        )
    record = {"frames": len(coco["images"]), "clips": len(coco["videos"]), "problems": 0}
    print(f"{folder}: {record['frames']} frames of {record['clips']} clips are valid")
    if args.report:
        write_json(args.report, record)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="folder of compose_clips")
    parser.add_argument("--report", help="JSON to write when all is well")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
