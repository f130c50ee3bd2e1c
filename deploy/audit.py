"""Ask pip-audit whether a locked package has a known weakness, and say what could not be asked about.

    python audit.py ENVIRONMENT LOCK

ENVIRONMENT is where pip-audit is installed, at the versions of `audit-requirements.txt`, if it is not there yet.  LOCK names packages
with hashes.  Exit status: 1 where a package has a weakness that is known; 0 otherwise, also where nobody could be asked: then one
line says `not audited`.  pip-audit itself exits with 0 when it finds no package in its data, so what it writes is read.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, Final

REQUIREMENTS: Final = Path(__file__).with_name("audit-requirements.txt")
_MINUTES: Final = 10


class NotAuditedError(Exception):
    """Nobody could be asked; the text says why, in one line."""


def judge(report: dict[str, Any]) -> tuple[list[str], int]:
    """Return lines that tell what a report of pip-audit means, and the exit status.

    Args:
        report: as `--format json` writes it: a package has `vulns`, or the `skip_reason` why there is none.
    """
    packages = report["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    weak = [(package, weakness) for package in packages for weakness in package.get("vulns", ())]
    lines = [
        f"{package['name']} {package['version']}: {weakness['id']}, mended in {', '.join(weakness['fix_versions']) or 'no version'}"
        for package, weakness in weak
    ]
    asked = len(packages) - len(skipped)
    if skipped or not packages:
        why = skipped[0]["skip_reason"] if skipped else "the lock names no package"
        lines.append(f"not audited: {len(skipped)} of {len(packages)} packages, the first because: {_line(why)}")
    if asked:
        lines.append(f"{asked} packages audited, {len(weak)} weaknesses known")
    return lines, int(bool(weak))


def ask(environment: Path, lock: Path) -> dict[str, Any]:
    """Return what pip-audit reports of a lock.

    Raises:
        NotAuditedError: it cannot be installed or started, or it ended without a report.
    """
    if not (environment / "bin" / "pip-audit").exists():
        venv.create(environment, with_pip=True, clear=True)
        _run([environment / "bin" / "pip", "install", "--quiet", "--no-deps", "--requirement", REQUIREMENTS])
    options = ["--format=json", "--progress-spinner=off", "--disable-pip", "--require-hashes", "--requirement"]
    output = _run([environment / "bin" / "pip-audit", *options, lock], may_fail=True)
    try:
        report: dict[str, Any] = json.loads(output.stdout)
    except ValueError as error:
        raise NotAuditedError(f"pip-audit wrote no report: {_line(output.stderr)}") from error
    return report


def _run(command: list[Path | str], *, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(  # noqa: S603 -- programs of this environment, named above
            command, capture_output=True, text=True, check=False, timeout=60 * _MINUTES
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAuditedError(f"{Path(command[0]).name} did not end: {_line(str(error))}") from error
    if done.returncode and not may_fail:
        raise NotAuditedError(f"{Path(command[0]).name} failed: {_line(done.stderr)}")
    return done


def _line(text: str) -> str:
    """Return the last line of a text, or what stands for none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it says nothing")


def main() -> int:
    """Print what is known of the packages; return the exit status."""
    environment, lock = map(Path, sys.argv[1:])
    if not lock.is_file():
        print(f"{str(lock)!r} is not there; name the file that locks the packages")
        return 2
    try:
        lines, status = judge(ask(environment, lock))
    except NotAuditedError as error:
        lines, status = [f"not audited: {error}"], 0
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
