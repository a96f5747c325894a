"""A wheel of this checkout, in an environment that holds nothing else of the project."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("annotations", "detectors", "stores", "pipeline", "training")
PACKAGING = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg")


def pip(*arguments, folder=None):
    """Run pip without an index; skip where pip or setuptools are absent."""
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr or "setuptools" in done.stderr:
        pytest.skip("pip and setuptools are not installed here")
    return done


def copy_checkout(folder):
    """Copy what a wheel is made of: a build leaves files in its folder, which the next one would pack."""
    for room in (*OURS, "bin"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in PACKAGING:
        shutil.copy(ROOT / name, folder / name)
    return folder


def build_wheel(folder):
    """Build the wheel of this checkout below a folder."""
    source = copy_checkout(folder / "source")
    built = pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(wheel, home):
    """Make an environment with the wheel; its dependencies are those that are installed here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    here = [each for each in sys.path if each.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("".join(f"{each}\n" for each in here if not _is_ours(each)))
    installed = pip("--python", home / "bin/python", "install", "--no-deps", "--no-index", wheel)
    assert installed.returncode == 0, installed.stderr


def _is_ours(folder):
    return any((Path(folder) / name).exists() for name in OURS)
