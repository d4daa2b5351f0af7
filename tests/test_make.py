"""`make` on machines where Python is not complete: it mends itself, or says in one line what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

# As Debian's python3 without python3-venv: it leaves a half-made folder, and says what to install.
WITHOUT_ENSUREPIP = f"""#!/bin/bash
if [[ "$*" == "-m venv .venv" ]]; then
    {sys.executable} -m venv --without-pip .venv
    echo "ensurepip is not available"
    exit 1
fi
"""
PASS_ON = f'exec {sys.executable} "$@"\n'


def python(folder: Path, *lines: str) -> Path:
    path = folder / "python3"
    path.write_text("".join(lines))
    path.chmod(0o755)
    return path


def run(folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """As an ordinary machine has it on its PATH: no apt-get, which would really install."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name in ("bash", "env", "id", "rm"):
        if not (tools / name).exists():
            (tools / name).symlink_to(Path("/usr/bin") / name)
    command = [ROOT / "tools/venv.sh", path]
    env = {"PATH": str(tools), "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def has_pip(folder: Path) -> bool:
    asked = subprocess.run([folder / ".venv/bin/python", "-m", "pip", "--version"], capture_output=True, check=False)
    return asked.returncode == 0


def test_an_environment_is_made_and_kept(tmp_path: Path) -> None:
    path = python(tmp_path, "#!/bin/bash\n", PASS_ON)
    assert run(tmp_path, path).returncode == 0 and has_pip(tmp_path)
    (tmp_path / ".venv/mark").touch()
    assert run(tmp_path, path).returncode == 0 and (tmp_path / ".venv/mark").exists()


def test_a_half_made_environment_is_made_anew(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    assert not has_pip(tmp_path)
    assert run(tmp_path, python(tmp_path, "#!/bin/bash\n", PASS_ON)).returncode == 0
    assert has_pip(tmp_path)


def test_without_ensurepip_the_outer_pip_helps(tmp_path: Path) -> None:
    """The pip that is asked for in the README; from a folder of wheels here, since tests need no network."""
    import ensurepip

    wheels = Path(ensurepip.__file__).parent / "_bundled"
    path = python(tmp_path, WITHOUT_ENSUREPIP, f"export PIP_NO_INDEX=1 PIP_FIND_LINKS={wheels}\n", PASS_ON)
    ran = run(tmp_path, path)
    assert ran.returncode == 0, ran.stderr
    assert has_pip(tmp_path)


def test_without_either_one_line_says_what_to_install(tmp_path: Path) -> None:
    no_pip = 'if [[ "$2" == pip ]]; then exit 1; fi\n'
    ran = run(tmp_path, python(tmp_path, WITHOUT_ENSUREPIP, no_pip, PASS_ON))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1 and "apt-get install python3-venv" in ran.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("root", [True, False])
def test_apt_is_asked_by_root_alone(tmp_path: Path, root: bool) -> None:
    """A machine without pip, whose apt-get brings what is missing."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {"apt-get": f"touch {tmp_path}/installed", "id": f"echo {0 if root else 1000}"}.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    (tools / "touch").symlink_to("/usr/bin/touch")
    missing = f'if [[ ! -e {tmp_path}/installed ]]; then [[ "$2" == pip ]] && exit 1\n'
    path = python(tmp_path, "#!/bin/bash\n", missing, WITHOUT_ENSUREPIP.split("\n", 1)[1], "fi\n", PASS_ON)
    ran = run(tmp_path, path)
    assert len(ran.stderr.splitlines()) == 1
    assert (ran.returncode, (tmp_path / "installed").exists()) == ((0, True) if root else (2, False)), ran.stderr


@pytest.mark.parametrize("root", [True, False])
def test_debian_packages_that_are_missing_are_installed_by_root_and_named_to_others(tmp_path: Path, root: bool) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "mktemp", "tail"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    for name in ("redis-server", "docker-compose", "bwrap", "ip", "curl", "java"):
        (tools / name).write_text("#!/bin/bash\n")
    for name, text in {"apt-get": f"echo $* >> {tmp_path}/asked", "id": f"echo {0 if root else 1000}"}.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
    for path in tools.iterdir():
        if not path.is_symlink():
            path.chmod(0o755)
    env = {"PATH": str(tools), "HOME": str(tmp_path)}
    ran = subprocess.run(
        [tools / "bash", ROOT / "tools/packages.sh"], env=env, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert "socat" in (ran.stdout if root else ran.stderr)
    asked = tmp_path / "asked"
    assert asked.exists() == root
    if root:
        (words,) = asked.read_text().splitlines()
        assert words.startswith("install ") and "socat" in words.split() and "redis-server" not in words.split()
