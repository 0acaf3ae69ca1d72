"""What the code imports, what pyproject.toml asks for, what the requirements files pin, and what prefect.yaml names agree."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FILES = {
    "requirements.txt": PYPROJECT["project"]["dependencies"],
    "tests/requirements.txt": PYPROJECT["dependency-groups"]["tests"],
}
"""Each requirements file, and what it must pin."""


def blocks(file: str) -> list[str]:
    """The requirements of a file, each with the lines of its hashes; without comments."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / file).read_text("utf-8"), flags=re.MULTILINE)
    return re.split(r"\n(?=\S)", text.strip())


def pins(file: str) -> dict[str, str]:
    """The version of each package."""
    pinned = [Requirement(block.partition("\\")[0]) for block in blocks(file)]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in pinned}


@pytest.mark.parametrize("file", FILES)
def test_each_dependency_is_pinned_at_a_version_that_satisfies_it(file: str) -> None:
    pinned = pins(file)
    wanted = [Requirement(text) for text in FILES[file]]
    assert len(wanted) > 10
    unmet = [str(one) for one in wanted if not one.specifier.contains(pinned.get(canonicalize_name(one.name), "0"))]
    missing = [str(one) for one in wanted if canonicalize_name(one.name) not in pinned]
    assert (unmet, missing) == ([], [])


@pytest.mark.parametrize("file", FILES)
def test_every_requirement_is_one_version_with_hashes_and_no_address(file: str) -> None:
    pin = re.compile(r"[\w.-]+(\[[\w, -]+\])?==[\w.!+]+( ; [^\n@/]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+")
    assert [block for block in blocks(file) if not pin.fullmatch(block)] == []
    assert [line for line in (ROOT / file).read_text("utf-8").splitlines() if re.search(r"://|@|--(?!hash=)", line)] == []


def test_both_files_can_be_installed_together() -> None:
    runtime, tests = pins("requirements.txt"), pins("tests/requirements.txt")
    both = runtime.keys() & tests.keys()
    assert "packaging" in both
    assert {name: runtime[name] for name in both} == {name: tests[name] for name in both}


def test_prefect_yaml_names_the_version_that_is_pinned() -> None:
    named = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["prefect-version"]
    assert named == pins("requirements.txt")["prefect"]


def imports(folder: str) -> Iterator[str]:
    """The packages that the modules of a folder import, by their first name."""
    for path in (ROOT / folder).rglob("*.py"):
        for one in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(one, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in one.names)
            elif isinstance(one, ast.ImportFrom) and one.module:
                yield one.module.partition(".")[0]


@pytest.mark.parametrize("folder", ["pipelines", "schemas"])
def test_what_is_imported_is_declared(folder: str) -> None:
    """Not just there because something else needs it."""
    declared = {canonicalize_name(Requirement(text).name) for text in PYPROJECT["project"]["dependencies"]}
    packages = packages_distributions()
    foreign = {name for name in imports(folder) if name not in {*sys.stdlib_module_names, "pipelines", "schemas"}}
    assert len(foreign) > 1
    assert [name for name in sorted(foreign) if declared.isdisjoint(map(canonicalize_name, packages.get(name, [])))] == []
