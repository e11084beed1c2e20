"""Commands of ./repro: set up what is missing, then hand over to Snakemake, pytest or a stage."""

import argparse
import contextlib
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from front import recovery
from front.audit import AuditError, pinned_files, vulnerabilities
from front.environments import ROOT, SetupError, hold, known_environments, set_up

SCALES = ("smoke", "laptop", "workstation", "paper")
SUITES = ("unit", "oracles", "workflow", "faults", "cluster")
LANES = (("unit", "oracles", "faults"), ("workflow", "cluster"))  # suites that all tests run side by side
# what submits jobs, by profile
SUBMITTERS = {"slurm": "sbatch", "kubernetes": "kubectl"}
WRITTEN = (".snakemake", "data", "results", "scratch")  # folders that a run writes to
FULL_BYTES = 2**20  # less is free than a job's files take
_HELD = []  # descriptor of the lock of the run that is at work, which what changes results for it holds too
RUN_ENVIRONMENTS = ["main", "hardware", "render"]
SUITE_ENVIRONMENTS = {
    "unit": ["main", "audit"],
    "oracles": ["main", "oracles", "hardware"],
    "workflow": RUN_ENVIRONMENTS,
    "faults": RUN_ENVIRONMENTS,
    "cluster": RUN_ENVIRONMENTS,
}


class UserError(Exception):
    """A mistake of the user, in one sentence."""


def main(argv=None):
    """Run a command line; returns the exit code. Mistakes are one sentence and code 2."""
    argv = sys.argv[1:] if argv is None else argv
    recovery.stop_like_ctrl_c()
    try:
        args = parse(argv)
        return args.run(args) or 0
    except (UserError, SetupError, AuditError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def run(args):
    set_up(RUN_ENVIRONMENTS, args.torch)
    names = _check_targets(args.targets)
    extra = [*_placed(args.profile, args.jobs), *args.extra]
    if args.plan:
        _preflight(args.scale)
        cores = args.jobs or os.cpu_count() or 1
        return _python("-m", "workflow.lib.plan", "--scale", args.scale, "--cores", str(cores), *names)
    start = time.monotonic()
    if {"bench", "judge"} & set(names):
        set_up(["oracles"], args.torch)
    with _only_run():
        code = _preflight(args.scale)
        if code:
            return code
        code = _snakemake(args.scale, names, extra, cores=args.jobs, device=args.device)
    results = ROOT / "results" / args.scale
    if code:
        print(f"\nThe run stopped: {_what_stopped_it(code)}", file=sys.stderr)
        return code
    print(f"done after {time.monotonic() - start:.0f} s", file=sys.stderr)
    if (results / "report.html").is_file():
        print(
            f"report: {(results / 'report.html').relative_to(ROOT)}   claims: ./repro claims", file=sys.stderr
        )
    return 0


def test(args):
    suites = args.suites or [suite for suite in SUITES if (ROOT / "tests" / suite).is_dir()]
    set_up(sorted({env for suite in suites for env in SUITE_ENVIRONMENTS.get(suite, ["main"])}), args.torch)
    if not args.suites:
        style = [["ruff", "check", "."], ["ruff", "format", "--check", "."]]
        style.append(
            ["snakefmt", "--check", "Snakefile", *map(str, (ROOT / "workflow" / "rules").glob("*.smk"))]
        )
        for command in style:
            if _run([_tool(command[0]), *command[1:]]):
                raise UserError(
                    f"style: {' '.join(command[:2])} found what is listed above; mend it (ruff format .)"
                )
    long = ["--long"] if args.long else []
    # most tests are one thread's work, and a machine has two cores
    lanes = [suites] if args.suites else [[s for s in lane if s in suites] for lane in LANES]
    commands = [
        [_tool("python"), "-m", "pytest", *(f"tests/{suite}" for suite in lane), *long, *args.extra]
        for lane in lanes
    ]
    return _side_by_side(commands)


def setup(args):
    names = args.environments or known_environments()
    set_up(names, args.torch)
    missing = _missing_packages()
    if missing:
        print(f"optional system packages are missing: apt-get install {' '.join(missing)}", file=sys.stderr)
    print("ready: " + ", ".join(names), file=sys.stderr)


def status(args):
    set_up(["main"])
    return _python("-m", "workflow.lib.plan", "--scale", args.scale)


def why(args):
    set_up(["main"])
    return _python("-m", "workflow.lib.why", "--scale", args.scale, "--", args.target)


def claims(args):
    file = ROOT / "results" / args.scale / ("claims.json" if args.json else "claims.md")
    if not file.is_file():
        raise UserError(
            f"{file.relative_to(ROOT)} is not there yet; make it with ./repro run --scale {args.scale}"
        )
    print(file.read_text(), end="")


def report(args):
    """The page of verdicts, and Snakemake's own report with the parameters and code behind every figure."""
    set_up(["main"])
    folder = f"results/{args.scale}"
    with _only_run():
        code = _snakemake(args.scale, [f"{folder}/report.html"], []) or _snakemake(
            args.scale, [], ["--report", f"{folder}/workflow.html"]
        )
    if not code:
        print(f"{folder}/report.html\n{folder}/workflow.html")
    return code


def bench(args):
    set_up(["main", "oracles", "hardware"])
    again = [rule for rule in _rules() if rule.startswith("bench_")]
    (ROOT / "scratch").mkdir(exist_ok=True)
    # sharing asks Snakemake what is stale, so that its benchmark is no job of Snakemake's
    sharing = ["--files", "1000", "--mib", "1024", "--runs", "3", "--folder", "scratch", "--bench"]
    with _only_run():
        code = (
            _preflight(args.scale)
            or _snakemake(args.scale, ["bench"], ["--forcerun", *again])
            or _python(
                "-m", "workflow.sharing.bench_share", *sharing, f"results/{args.scale}/bench/share.json"
            )
        )
    return code or _python("-m", "workflow.lib.bench_summary", "--scale", args.scale)


def share(args):
    """What this scale has made, into the store and into git."""
    return _sharing("share", args, ["--", *_check_targets(args.targets)])


def pull(args):
    """What was shared, back into place; then what is left to do with the code as it is here."""
    revision, targets = _revision_and_targets(args.what)
    options = ["--revision", revision] if revision else []
    code = _sharing("pull", args, [*options, *(["--overwrite"] if args.overwrite else []), "--", *targets])
    return code or _python("-m", "workflow.lib.plan", "--scale", args.scale, "--", *targets)


def diff(args):
    set_up(["main"])
    return _python("-m", "workflow.sharing.diff", "--scale", args.scale, "--", args.revision)


def crate(args):
    options = ["--revision", args.revision] if args.revision else []
    return _sharing("crate", args, [*options, "--", args.folder])


def _sharing(verb, args, arguments):
    set_up(["main"])
    store = ["--store", args.store] if args.store else []
    with _only_run():
        command = ["-m", f"workflow.sharing.{verb}", "--scale", args.scale, *store, *arguments]
        return _run([_tool("python"), *command], pass_fds=_HELD)


def _revision_and_targets(words):
    """The one word that names a commit, or None, and the others. A target goes before a revision of the same name."""
    rules, revisions, targets = _rules(), [], []
    for word in words:
        if word not in rules and _is_revision(word):
            revisions.append(word)
        else:
            targets.append(word)
    if len(revisions) > 1:
        raise UserError(f"{revisions[0]} and {revisions[1]} are both revisions; name one")
    return (revisions or [None])[0], _check_targets(targets)


def _is_revision(word):
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", word + "^{commit}"]
    return (
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        == 0
    )


def audit(args):
    """Known vulnerabilities of every package that the locks pin; exit code 1 where there are any."""
    set_up(["audit"])
    count, found = 0, []
    for file in pinned_files():
        packages, lines = vulnerabilities(file, args.extra)
        count, found = count + packages, found + lines
    print("\n".join(found) or f"no known vulnerability in {count} pinned packages")
    return bool(found)


def clean(args):
    folders = [ROOT / "results" / args.scale, ROOT / "scratch"]
    there = [folder for folder in folders if folder.exists()]
    for folder in there:
        print(folder.relative_to(ROOT))
    if there and not args.yes:
        raise UserError("nothing removed; to remove what is listed add --yes (raw and prepared data stay)")
    for folder in there:
        shutil.rmtree(folder)


def parse(argv):
    """The command line. Arguments behind `--` go to Snakemake, pytest or pip-audit as they are."""
    extra = argv[argv.index("--") + 1 :] if "--" in argv else []
    own = argv[: argv.index("--")] if "--" in argv else argv
    parser = _Parser(prog="./repro", description="Seven papers on efficient deep learning, reproduced.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    torch = _Parser(add_help=False)
    torch.add_argument("--torch", metavar="cpu|cuXXX|URL", help="build of torch, or the index that has it")
    scale = _Parser(add_help=False)
    scale.add_argument("--scale", choices=SCALES, default="laptop", help="what is computed (default: laptop)")

    add = _adder(commands)
    command = add("run", run, "set up what is missing, then run", [torch, scale])
    command.add_argument(
        "targets", nargs="*", metavar="TARGET", help="a paper, `hardware`, ... or a file; default: all"
    )
    command.add_argument("-j", "--jobs", type=_positive, help="jobs at a time (default: one a core)")
    command.add_argument(
        "--profile",
        type=_profile,
        metavar="NAME",
        help=f"where jobs run: {', '.join(_profiles())}, or a folder with a config.yaml of your own",
    )
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    command.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    command = add("test", test, "run the tests", [torch])
    command.add_argument(
        "suites", nargs="*", metavar="SUITE", type=_suite, help=", ".join(SUITES) + "; default: all"
    )
    command.add_argument(
        "--long", action="store_true", help="faults: also kill 30 runs, and print how each recovered"
    )
    command = add("setup", setup, "make environments", [torch])
    command.add_argument("environments", nargs="*", metavar="ENV", help=", ".join(known_environments()))
    add("status", status, "what a run would do", [scale])
    command = add("why", why, "why a file or target would be made again", [scale])
    command.add_argument("target", metavar="TARGET")
    command = add("claims", claims, "print the verdicts", [scale])
    command.add_argument("--json", action="store_true")
    add("report", report, "write the reports", [scale])
    add("bench", bench, "time ours and its peers side by side", [scale])
    store = _Parser(add_help=False)
    store.add_argument(
        "--store", metavar="URL", help="where shared files lie, from now on: a folder, s3://..., ssh://..."
    )
    command = add("share", share, "share results: bytes into the store, a commit into git", [scale, store])
    command.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    command = add("pull", pull, "restore shared results", [scale, store])
    command.add_argument(
        "what",
        nargs="*",
        metavar="REV|TARGET",
        help="a revision whose results come; targets that they are for",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace what was made or edited here and is shared nowhere"
    )
    command = add("diff", diff, "what differs from the results of a revision", [scale])
    command.add_argument("revision", metavar="REV")
    command = add("crate", crate, "write shared results as an RO-Crate", [scale, store])
    command.add_argument("folder", metavar="FOLDER")
    command.add_argument("revision", nargs="?", metavar="REV")
    add("audit", audit, "look for known vulnerabilities in the locked packages", [])
    command = add("clean", clean, "remove results of a scale", [scale])
    command.add_argument("--yes", action="store_true", help="really remove")

    args = parser.parse_args(own)
    if not args.command:
        parser.print_help()
        raise UserError("say what to do, for instance ./repro run")
    args.extra = extra
    return args


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one sentence, with the nearest word that is known."""

    def error(self, message):
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            known = [word.strip("' ") for word in wrong[2].split(",")]
            near = difflib.get_close_matches(wrong[1], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            raise UserError(f"{wrong[1]!r} is not known; {hint}")
        raise UserError(f"{message}; see {self.prog} --help")


def _adder(commands):
    def add(name, function, words, parents):
        command = commands.add_parser(name, help=words, description=words, parents=parents)
        command.set_defaults(run=function)
        return command

    return add


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _suite(text):
    if text not in SUITES:
        near = difflib.get_close_matches(text, SUITES, n=1)
        raise argparse.ArgumentTypeError(
            f"there is no suite {text!r}; " + (near or ["; ".join(SUITES)])[0] + " is one"
        )
    return text


def _profiles():
    return sorted(file.parent.name for file in (ROOT / "profiles").glob("*/config.yaml"))


def _profile(text):
    """The folder of a profile, given by its name in profiles/ or its path."""
    for folder in (ROOT / "profiles" / text, Path(text).absolute()):
        if (folder / "config.yaml").is_file():
            return folder
    near = (difflib.get_close_matches(text, _profiles(), n=1) or _profiles())[0]
    raise argparse.ArgumentTypeError(
        f"there is no profile {text!r}; {near} is one, and so is any folder with a config.yaml"
    )


def _placed(profile, jobs):
    """Arguments that run jobs where a profile says: what is submitted at a time is no count of this machine's cores."""
    if profile is None:
        return []
    submitter = SUBMITTERS.get(profile.name, "sh")
    if shutil.which(submitter) is None:
        raise UserError(
            f"{submitter} is not here; run where jobs of the cluster are submitted, or without --profile"
        )
    return ["--profile", str(profile), *(["--jobs", str(jobs)] if jobs else [])]


def _check_targets(targets):
    """Targets that are neither a rule nor a file's path get the nearest rule's name."""
    rules = _rules()
    for target in targets:
        if not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*", target):
            raise UserError(f"there is no target {target!r}: name a rule, or a file below results or data")
        if target not in rules and "/" not in target:
            near = difflib.get_close_matches(target, rules, n=1)
            hint = f"did you mean {near[0]}?" if near else "see the table in README.md"
            raise UserError(f"there is no target {target!r}; {hint}")
    return targets


def _rules():
    """Names of all rules."""
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
    text = "\n".join(file.read_text() for file in files)
    return re.findall(r"^rule (\w+):", text, flags=re.MULTILINE)


def _preflight(scale):
    return _python("-m", "workflow.lib.preflight", "--scale", scale)


def _snakemake(scale, targets, extra, cores=None, device="auto"):
    settings, extra = config_words(extra)
    command = ["-m", "snakemake", "--cores", str(cores or os.cpu_count() or 1), *extra]
    results, data = ROOT / "results" / scale, ROOT / "data"
    logs = [results / "logs", data / "logs"]
    if recovery.settle_times([results, data]):
        print("some files are newer than this machine's clock; they count as made now", file=sys.stderr)
    if locks := list((ROOT / ".snakemake" / "locks").glob("*")):
        # no other ./repro is at work here; a Snakemake that somebody called by itself may be
        if number := recovery.snakemake_in(ROOT):
            raise UserError(f"Snakemake works in this folder (process {number}); wait for it")
        print("the run before this one was killed; going on where it stopped", file=sys.stderr)
        for lock in locks:  # as `snakemake --unlock` does after some seconds
            lock.unlink()
    settings = [f"scale={scale}", f"device={device}", *settings]
    whole = [_tool("python"), *command, "--config", *settings, "--", *targets]
    start_s = time.time()
    with _progress_of(logs):
        code = recovery.supervise(whole, ROOT, env=_environ(), pass_fds=_HELD)
    for line in failures(logs, newer_than=start_s) if code else []:
        print(line, file=sys.stderr)
    return code


def config_words(extra):
    """Arguments for Snakemake, apart: what stands behind --config, and the others. Of two --config it takes the last."""
    settings, others, taking = [], [], False
    for word in extra:
        if word in ("--config", "-C"):
            taking = True
            continue
        taking = taking and not word.startswith("-")
        (settings if taking else others).append(word)
    return settings, others


@contextlib.contextmanager
def _only_run():
    """Hold this folder for one run, until this process and the Snakemake that it starts have ended, however they end."""

    def refuse(holder):
        number = recovery.holder_of(path)
        if number and not recovery.is_alive(re.sub(r"\D*(\d+).*", r"\1", holder)):
            raise UserError(
                f"the run of {holder}, goes on though its ./repro was killed; wait for it, or end it with"
                f" kill {number} (jobs at work come to their end), and run the same command again"
            )
        raise UserError(
            f"another run works in this folder ({holder}); wait for it, or run in a clone of your own"
        )

    for folder in filter(Path.exists, (ROOT, *(ROOT / name for name in WRITTEN))):
        if not os.access(folder, os.W_OK):
            raise UserError(
                f"{folder} may not be written (a read-only disk, or another user's folder); make it writable, or"
                " run in a clone of your own"
            )
    path = ROOT / ".snakemake" / "repro.lock"
    path.parent.mkdir(exist_ok=True)
    with hold(path, refuse) as file:
        if killed := recovery.kill_processes_of_runs(ROOT):
            print(f"ended {killed} processes of a run that was killed", file=sys.stderr)
        _HELD.append(file.fileno())
        try:
            yield
        finally:
            _HELD.clear()


@contextlib.contextmanager
def _progress_of(folders, interval_s=20):
    """While the block runs, say every now and then how far the jobs at work are, and how long they still take."""
    ended = threading.Event()

    def watch():
        while not ended.wait(interval_s):
            for line in progress_lines(folders, newer_than=time.time() - interval_s):
                print(f"  {line}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def progress_lines(folders, newer_than):
    """The last line of each log that was written to since `newer_than`, where it tells progress."""
    lines = []
    for log in sorted(log for folder in folders for log in folder.rglob("*.log")):
        if log.stat().st_mtime >= newer_than:
            last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
            if re.search(r"\d+/\d+ \d+%", last):
                lines.append(f"{log.parent.name}/{log.stem}: {last}")
    return lines


def failures(folders, newer_than, lines=12):
    """Name and last lines of each log that was written to since `newer_than` and ends in an error.

    Snakemake would show the logs of failed jobs only beside the rules of all the others.
    """
    told = []
    for log in sorted(log for folder in folders for log in folder.rglob("*.log")):
        text = log.read_text(errors="replace") if log.stat().st_mtime >= newer_than else ""
        if re.search(r"^(error: |Traceback )", text, flags=re.MULTILINE):
            told += [f"\n{os.path.relpath(log, ROOT)} ends with:", *text.strip().splitlines()[-lines:]]
    return told


def _what_stopped_it(code):
    if code > 128:
        return (
            f"Snakemake was killed (signal {code - 128}; 9 often means that memory ran out: fewer jobs, -j, need less)."
            " The same ./repro run goes on where this one stopped."
        )
    for folder in filter(Path.exists, (ROOT, *(ROOT / name for name in WRITTEN))):
        free = shutil.disk_usage(folder).free
        if free < FULL_BYTES:
            # told here too, because the log of the failed job may not have had room for it
            return (
                f"the disk that holds {folder} is full ({free / 1e6:.1f} MB free). Free some space;"
                " the same ./repro run then goes on where this one stopped."
            )
    return (
        "the log of the failed job stands above; its command runs alone as it is printed there,"
        " from this folder. The same ./repro run goes on where this one stopped."
    )


def _python(*arguments):
    return _run([_tool("python"), *arguments])


def _run(command, pass_fds=()):
    return subprocess.run(command, cwd=ROOT, env=_environ(), pass_fds=pass_fds).returncode


def _side_by_side(commands):
    """Run commands at once; what the later ones said follows when they have ended. The largest exit code."""
    with contextlib.ExitStack() as stack:
        others = []
        for command in commands[1:]:
            said = stack.enter_context(tempfile.TemporaryFile("w+"))
            job = subprocess.Popen(command, cwd=ROOT, env=_environ(), stdout=said, stderr=subprocess.STDOUT)
            others.append((stack.enter_context(job), said))
        codes = [_run(commands[0])]
        for job, said in others:
            codes.append(job.wait())
            said.seek(0)
            shutil.copyfileobj(said, sys.stdout)
    return max(codes)


def _tool(name):
    return str(ROOT / ".venv" / "main" / "bin" / name)


def _environ():
    # one thread a job: as many jobs run as there are cores
    return dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")


def _missing_packages():
    """Packages of envs/debian.txt that this Debian machine lacks; empty elsewhere."""
    if shutil.which("dpkg-query") is None:
        return []
    lines = (ROOT / "envs" / "debian.txt").read_text().splitlines()
    names = [line.split("#")[0].strip() for line in lines]
    query = ["dpkg-query", "-W", "-f", "${Status}"]
    return [
        name
        for name in filter(None, names)
        if "ok installed"
        not in subprocess.run(
            [*query, name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ).stdout
    ]
