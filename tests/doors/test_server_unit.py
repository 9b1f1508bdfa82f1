"""The systemd unit: as the docs show it, understood by systemd, and of one word for each path."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sopwith.doors.cli.server_unit import unit_text
from sopwith.errors import BadRequest

from .workshop import Workshop

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"
SHOP = Path("/srv/shop")
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def test_the_docs_show_both_units() -> None:
    shown = re.findall(r"```ini\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert shown == [
        unit_text(SHOP, command="/usr/local/bin/sop"),
        unit_text(SHOP, command="/usr/local/bin/sop", user="shop"),
    ]


def test_a_server_that_listens_has_that_in_its_unit(workshop: Workshop) -> None:
    told = workshop.sop("serve", "--unit", "--port", "8321", "--allow-host", "sop.example.org", "--proxy", "10.0.0.7")
    [line] = [line for line in told.out.splitlines() if line.startswith("ExecStart=")]
    assert line.endswith("--log-format json --host 127.0.0.1 --port 8321 --allow-host sop.example.org --proxy 10.0.0.7")
    plain = workshop.sop("serve", "--unit").out
    assert "--port" not in plain
    assert "a%%b" in unit_text(SHOP, command="/bin/sop", listening=["--allow-host", "a%b"])


@needs_systemd
@pytest.mark.parametrize("user", [None, "root"])
def test_systemd_understands_it(tmp_path: Path, user: str | None) -> None:
    root = tmp_path / "a shop of 100% $HOME"
    root.mkdir()
    unit = tmp_path / "sopwith-test.service"
    unit.write_text(unit_text(root, command=str(shutil.which("sh")), user=user))
    # what a user's manager knows is a part of what the system's does
    done = subprocess.run([str(ANALYZE), "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert "is masked" not in done.stderr
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_its_exposure_is_what_the_docs_say(tmp_path: Path) -> None:
    for user in (None, "shop"):
        unit = tmp_path / f"sopwith-{user}.service"
        unit.write_text(unit_text(SHOP, command="/usr/local/bin/sop", user=user))
    told = []
    for user in (None, "shop"):
        unit = tmp_path / f"sopwith-{user}.service"
        done = subprocess.run(
            [str(ANALYZE), "security", "--offline=true", "--no-pager", str(unit)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        score = re.search(r"Overall exposure level for .*: ([\d.]+)", done.stdout)
        assert score is not None, done
        told.append(float(score[1]))
    user_score, system_score = told
    assert system_score < 5 < user_score
    said = re.search(r"([\d.]+) for the second,\s+([\d.]+) for the first", DOCS.read_text())
    assert said is not None
    # versions of systemd weigh a little differently
    assert abs(float(said[1]) - system_score) < 1
    assert abs(float(said[2]) - user_score) < 1


def test_steps_outlive_it_and_what_hangs_is_started_anew() -> None:
    unit = unit_text(SHOP, command="/usr/local/bin/sop", user="shop").splitlines()
    for line in ("Type=notify", "KillMode=process", "Restart=on-failure", "WatchdogSec=60", "NoNewPrivileges=yes"):
        assert line in unit
    assert not [line for line in unit if line.startswith("PrivateTmp")]


@pytest.mark.parametrize(
    ("path", "word", "argument"),
    [
        ("/srv/shop", "/srv/shop", "/srv/shop"),
        ("/srv/my shop", '"/srv/my shop"', '"/srv/my shop"'),
        ("/srv/100%", "/srv/100%%", "/srv/100%%"),
        ("/srv/$HOME", "/srv/$HOME", "/srv/$$HOME"),
        ("/srv/a;b", '"/srv/a;b"', '"/srv/a;b"'),
        ("/srv/läden", '"/srv/läden"', '"/srv/läden"'),
    ],
)
def test_a_path_is_one_word(path: str, word: str, argument: str) -> None:
    unit = unit_text(Path(path), command="/usr/local/bin/sop", user="shop")
    assert f"ReadWritePaths={word} /tmp /var/tmp\n" in unit
    assert f"ExecStart=/usr/local/bin/sop serve --workspace {argument} --log-format json\n" in unit


@pytest.mark.parametrize("name", ["a\nUser=root", 'a"b', "a\\b", "a\x7f"])
def test_a_path_that_could_say_more_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="cannot write a unit"):
        unit_text(Path("/srv") / name, command="/usr/local/bin/sop")
    with pytest.raises(BadRequest):
        unit_text(SHOP, command=f"/usr/bin/{name}")


def test_the_command_prints_it_for_this_workspace(workshop: Workshop) -> None:
    told = workshop.sop("serve", "--unit")
    assert told.code == 0
    assert f"serve --workspace {workshop.root} --log-format json\n" in told.out
    assert "User=" not in told.out
    system = workshop.json("serve", "--unit=system")["unit"]
    assert f"User={workshop.root.owner()}\n" in system
