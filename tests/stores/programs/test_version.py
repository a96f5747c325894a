import re
import subprocess
import sys
from importlib.metadata import version as installed_version

import pytest

from pipeline.cli import main as vinculum
from stores.programs.version import ROOT, _recorded, version
from training.cli import main as vinculum_train


@pytest.mark.parametrize(("main", "name"), [(vinculum, "vinculum"), (vinculum_train, "vinculum-train")])
def test_both_programs_print_their_version_and_end(main, name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{name} {version()}\n"


def test_a_checkout_tells_its_revision():
    if not (ROOT / ".git").exists():
        pytest.skip("these files lie in no checkout")
    ran = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    found = re.fullmatch(r"(\S+) \(([0-9a-f]{7,40})(, changed)?\)", version())
    assert found[1] == installed_version("vinculum")
    assert ran.stdout.startswith(found[2])


@pytest.mark.parametrize(
    ("direct_url", "revision"),
    [
        (None, ""),
        ('{"url": "file:///vinculum.whl", "archive_info": {}}', ""),
        (
            '{"url": "https://x/y.git", "vcs_info": {"vcs": "git", "commit_id": "1b847a7ac0ffee1b847a7"}}',
            "1b847a7ac0ff",
        ),
    ],
)
def test_an_installed_package_tells_what_its_installer_recorded(direct_url, revision):
    assert _recorded(direct_url) == revision


def test_a_version_is_told_without_what_commands_import():
    code = "import sys; from stores.programs.version import version; version(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
