"""The commands are started in a folder of somebody else's Python files: none of them is ever imported."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from annotations.toyworld.world import write_toy_world
from detectors.weights.files import SHIPPED
from stores.manifest import read_manifest
from tests.end_to_end.installation import OURS, ROOT, build_wheel, install_wheel
from tests.end_to_end.test_two_nodes import RAY, Node, free_port, stopped_after, until

INSTALLED = ("cv2", "numpy", "torch", "ray", "pyarrow", "tqdm", "setuptools")
STANDARD = ("json", "pickle", "random", "signal", "threading", "multiprocessing")
ABSENT = ("detectron2", "s3fs")
"""Names that may be installed nowhere, and are imported where they are."""


def fill(folder, form, names=(*OURS, *INSTALLED, *STANDARD, *ABSENT)):
    """The names that a command imports are files, or folders, here; each leaves a trace where it is imported."""
    trace = folder / "imported.txt"
    for name in names:
        text = f"open({str(trace)!r}, 'a').write({name!r} + '\\n')\nraise SystemError({name!r})\n"
        if form == "folder":
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(text)
        else:
            (folder / f"{name}.py").write_text(text)
    return trace


def run(program, *arguments, folder, python=sys.executable, limit=240, **environment):
    script = ROOT / "bin" / program if isinstance(program, str) else program
    return subprocess.run(
        [python, str(script), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


def extract(folder, program="vinculum", **options):
    shutil.copy(SHIPPED["toyworld"], folder / "toy.safetensors")
    (folder / "boxes.json").write_text(json.dumps({"1": [[1, 1, 30, 30]], "2": [[2, 2, 40, 40]]}))
    arguments = ("extract", "--images", "images", "--weights", "toy.safetensors", "--boxes", "boxes.json")
    arguments += ("--out", "regions")  # all relative, and workers run elsewhere
    done = run(program, *arguments, folder=folder, **options)
    assert done.returncode == 0, done.stderr
    assert read_manifest(folder / "regions").shards[0].rows == 2


@pytest.fixture
def world(tmp_path):
    write_toy_world(tmp_path / "world", num_images=2, seed=0)
    return tmp_path / "world"


def test_extract_imports_nothing_of_the_current_folder(world):
    trace = fill(world, "file")
    # An unset variable in PYTHONPATH=$THEIRS:$MINE leaves an empty entry, which is the current folder.
    extract(world, PYTHONPATH=f":{world}")
    assert not trace.exists()


@pytest.mark.slow
def test_extract_imports_no_folder_of_the_current_folder(world):
    trace = fill(world, "folder")
    extract(world)
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["file", "folder"])
def test_align_and_pretrain_import_nothing_of_the_current_folder(world, form):
    extract(world)
    trace = fill(world, form)
    vectors = world / "vectors/toyworld_vectors.txt"
    aligned = run(
        *(
            "vinculum",
            "align",
            "--regions",
            "regions",
            "--annotations",
            "gqa=gqa",
            "--vectors",
            vectors,
            "--ids",
            "visual-genome",
        ),
        *("--out", "sentences"),
        folder=world,
    )
    assert aligned.returncode == 0, aligned.stderr
    trained = run(
        *("vinculum-train", "pretrain", "--preset", "toy", "--regions", "regions", "--sentences", "sentences"),
        *("--steps", "2", "--batch-size", "4", "--out", "run"),
        folder=world,
        OMP_NUM_THREADS="1",
    )
    assert trained.returncode == 0, trained.stderr
    assert not trace.exists()


def test_a_checkout_is_used_where_it_is_the_installation():
    inside = run("vinculum", "--help", folder=ROOT)
    assert inside.returncode == 0, inside.stderr


def test_both_programs_start_alike():
    one, other = ((ROOT / "bin" / name).read_text(encoding="utf-8") for name in ("vinculum", "vinculum-train"))
    assert one.replace("`vinculum`", "`vinculum-train`").replace("pipeline", "training") == other


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_installed_wheel_imports_nothing_of_the_current_folder(world, tmp_path):
    wheel, home = tmp_path / "wheel", tmp_path / "home"
    install_wheel(build_wheel(wheel), home)
    trace = fill(world, "file")
    extract(world, program=home / "bin/vinculum", python=str(home / "bin/python"), PYTHONPATH=str(world))
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_submitted_job_imports_nothing_of_its_working_directory(world, tmp_path):
    trace = fill(world, "file", (*OURS, *ABSENT, "cv2", "torch"))  # of other names Ray itself would import some
    (tmp_path / "token").write_text("of-the-test-" + "x" * 32)
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    gcs, dashboard = free_port(), free_port()
    head = Node(
        *("--head", f"--port={gcs}", f"--dashboard-port={dashboard}", "--num-cpus=1"),
        environment=environment,
        log=tmp_path / "head.log",
    )
    with stopped_after([head]):
        until(lambda: head.find("raylet/raylet"), "the head node")
        submit = [RAY, "job", "submit", "--address", f"http://127.0.0.1:{dashboard}", "--working-dir", str(world)]
        submit += ["--", sys.executable, str(ROOT / "bin/vinculum"), "extract", "--images", str(world / "images")]
        submit += ["--weights", "toyworld", "--out", str(world / "regions")]
        done = subprocess.run(submit, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_manifest(world / "regions").shards[0].rows == 2
    assert not trace.exists()
