"""What pyproject.toml asks for, what the requirements files pin, and what prefect.yaml names are the same."""

import re
import tomllib
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
