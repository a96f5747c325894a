"""What a cluster is started with: files that say what the code does. No image is built here."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from ray._private.runtime_env.packaging import create_package

from pipeline.cli import COMMANDS
from pipeline.extraction.metrics import WorkerMetrics

DOCKER = Path(__file__).parent.parent / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")


def check_names(**environment):
    command = [sys.executable, str(DOCKER / "check_names.py")]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_the_five_names_are_ours_here():
    assert check_names().returncode == 0


def test_a_stranger_that_owns_one_of_our_names_fails_the_build(tmp_path):
    (tmp_path / "stranger-1.0.dist-info").mkdir()
    (tmp_path / "stranger-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (tmp_path / "stranger-1.0.dist-info/top_level.txt").write_text("training\n")
    found = check_names(PYTHONPATH=str(tmp_path))
    assert found.returncode == 1
    assert re.search(r"training: belongs to .*stranger.*, expected vinculum alone", found.stderr)


def test_both_targets_check_the_names_and_run_as_nobody_special():
    targets = re.split(r"^FROM \S+ AS ", DOCKERFILE, flags=re.MULTILINE)[1:]
    named = {target.split()[0]: target for target in targets}
    assert set(named) == {"wheel", "base", "cpu", "cuda"}
    for name in ("cpu", "cuda"):
        assert "check_names.py" in named[name] and named[name].rstrip().endswith("USER vinculum")


def test_what_is_copied_is_not_ignored():
    kept = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().split() if line.startswith("!")}
    root = DOCKER.parent
    assert all((root / each).exists() for each in kept)
    assert {"annotations", "detectors", "pipeline", "stores", "training", "setup.cfg", "pyproject.toml"} <= kept


def test_compose_starts_a_head_and_workers_that_share_a_token_and_a_volume():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"head", "worker"}
    for service in services.values():
        assert service["environment"] == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/run/secrets/token"}
        assert service["volumes"] == ["data:/data"] and service["secrets"] == ["token"]
        assert service["command"].startswith("ray start") and "--block" in service["command"]
    assert all(port.startswith("127.0.0.1:") for port in services["head"]["ports"])


def test_the_job_runs_a_command_that_there_is_with_authentication_on(capsys):
    job = yaml.safe_load((DOCKER / "rayjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    program, command, *options = shlex.split(job["spec"]["entrypoint"])
    assert program == "vinculum" and command in COMMANDS
    from pipeline.cli import main

    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    assert all(option in told for option in options if option.startswith("--"))


def test_the_dashboard_asks_for_counters_that_workers_have():
    dashboard = json.loads((DOCKER / "grafana.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ray_(vinculum_\w+)_total", target["expr"])
    }
    metrics = WorkerMetrics()
    has = {counter.info["name"] for counter in (metrics._images, metrics._shards, metrics._seconds)}
    assert asked == has
    corners = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(corners)) == len(corners)


def packed(folder, tmp_path):
    """Return the names in the package that `ray job submit --working-dir folder` sends."""
    package = tmp_path / "package.zip"
    create_package(str(folder), package, include_gitignore=True)
    return zipfile.ZipFile(package).namelist()


def test_a_job_package_of_any_folder_holds_no_secret(tmp_path):
    tracked = subprocess.run(
        ["git", "ls-files", "docker", ".rayignore"], cwd=DOCKER.parent, capture_output=True, text=True
    )
    for name in tracked.stdout.split():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DOCKER.parent / name, tmp_path / "copy" / name)
    secrets = ("token", "token.bak", "head.token", ".env", "head.pem", "credentials.json")
    for name in secrets:
        (tmp_path / "copy/docker" / name).write_text("secret")
        (tmp_path / "copy" / name).write_text("secret")
    for folder in (tmp_path / "copy/docker", tmp_path / "copy"):
        names = packed(folder, tmp_path)
        assert any(name.endswith("compose.yaml") for name in names)
        assert not {Path(name).name for name in names} & set(secrets)


@pytest.mark.parametrize("file", [DOCKER / "compose.yaml", DOCKER.parent / "pipeline/README.md"])
def test_no_advice_sends_a_folder_with_a_job(file):
    submits = [line for line in file.read_text(encoding="utf-8").splitlines() if "job submit --" in line]
    assert submits and not any("--working-dir" in line for line in submits)
