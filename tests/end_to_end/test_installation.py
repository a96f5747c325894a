"""What a wheel holds, that it runs outside of the checkout, and each `pip install` that our texts advise."""

import re
import subprocess
import zipfile

import pytest

from tests.end_to_end.installation import OURS, ROOT, build_wheel, copy_checkout, install_wheel, pip
from tests.stores.builders import make_regions, make_store

TEXTS = [
    *ROOT.glob("*.md"),
    *(path for room in OURS for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".md")),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def home(wheel, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    install_wheel(wheel, home)
    return home


def run(home, folder, *arguments):
    program = [home / "bin/python", home / "bin" / arguments[0], *arguments[1:]]
    return subprocess.run([*map(str, program)], cwd=folder, capture_output=True, text=True, check=False, timeout=240)


def test_the_wheel_holds_every_file_of_the_rooms_and_the_license(wheel):
    listed = subprocess.run(["git", "ls-files", *OURS], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {name for name in listed.stdout.split() if not name.endswith(".md") and (ROOT / name).exists()}
    assert len(wanted) > 300
    assert wanted - held == set()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


def test_an_installed_wheel_runs_in_another_folder(home, tmp_path):
    make_store(tmp_path / "store", [[make_regions("a", num_boxes=3)]])
    for command in (
        ("vinculum", "toyworld", "--out", "world", "--images", "2"),
        ("vinculum", "inspect", "store", "--out", "page.html"),
    ):
        done = run(home, tmp_path, *command)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "world/images").iterdir())) == 2
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")


def advised():
    """Every extra of this project that a text or a message says to install, as it says it."""
    pattern = re.compile(r"pip install (?:--[\w-]+ )*'([^']*\[\w+\])'")
    return {each for path in TEXTS for each in pattern.findall(path.read_text(encoding="utf-8"))}


def test_extras_are_advised_from_the_checkout():
    assert advised() >= {".[detectron2]", ".[s3]"}
    assert all(each.startswith(".[") for each in advised()), "PyPI's vinculum is a stranger's package"


@pytest.mark.parametrize("requirement", sorted(advised()))
def test_an_extra_that_is_advised_can_be_installed(requirement, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")  # only GitHub has detectron2: pip gets as far as to ask for it
    checkout = copy_checkout(tmp_path)
    arguments = "install", "--dry-run", "--no-index", "--no-build-isolation"
    done = pip(*arguments, requirement, folder=checkout)
    assert "does not provide the extra" not in done.stderr
    assert done.returncode == 0 or (requirement == ".[detectron2]" and "git clone" in done.stderr), done.stderr
