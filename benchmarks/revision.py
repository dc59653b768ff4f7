"""
An earlier commit of the checkout, as a tree of its own that a contender can run.

It is taken out of the repository with C{git archive}, so nothing of the repository or of the
checkout changes.
"""

from __future__ import annotations

import compileall
import io
import subprocess
import zipfile
from pathlib import Path

from benchmarks.contenders import python


class Unusable(Exception):
    """There is no such commit, or its code cannot be run; the message is one line."""


def _git(repository: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(repository), *words], check=False, capture_output=True
        )
    except FileNotFoundError:
        raise Unusable("git is not installed, and earlier commits are fetched with it") from None


def resolve(repository: Path, revision: str) -> str:
    """
    @param revision: what git takes for a commit: a hash, a branch, C{HEAD~3}.
    @return: the full name of that commit.
    @raise Unusable: there is none, or no repository.
    """
    commit = f"{revision}^{{commit}}"
    done = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", commit)
    if done.returncode:
        # Git explains itself unless the commit is all that is missing.
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise Unusable(said or f"there is no commit {revision!r} in {repository}")
    return done.stdout.decode().strip()


def extract(repository: Path, commit: str, directory: Path) -> Path:
    """
    Write the files of C{commit} into the new C{directory}.

    @return: C{directory}.
    @raise Unusable: C{tlstunnel} would not be imported from there.
    """
    done = _git(repository, "archive", "--format=zip", commit)
    if done.returncode:
        raise Unusable(done.stderr.decode(errors="replace").strip().partition("\n")[0])
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        archive.extractall(directory)
    if not importedFrom(directory):
        raise Unusable(f"tlstunnel cannot be imported from the files of {commit}")
    # As the checkout is, or it would be compiled in the first turn.
    compileall.compile_dir(directory / "tlstunnel", quiet=2)
    return directory


def importedFrom(tree: Path) -> bool:
    """@return: whether the code that a contender in C{tree} runs is in fact the code there."""
    program = "import tlstunnel; print(tlstunnel.__file__)"
    done = subprocess.run(
        [*python(tree), "-c", program], check=False, capture_output=True, text=True
    )
    found = Path(done.stdout.strip()).resolve()
    return not done.returncode and found.is_relative_to(tree.resolve())
