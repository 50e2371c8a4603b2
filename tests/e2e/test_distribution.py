"""What people install: wheel and sdist outside the checkout, and a checkout without links."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, built from a clone of the last commit, the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run("git", "clone", "-q", ROOT, folder / "clone", cwd=folder)
    run(sys.executable, "-m", "venv", folder / "build", cwd=folder)
    python = folder / "build" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "build", cwd=folder)
    run(python, "-m", "build", "--outdir", folder / "out", folder / "clone", cwd=folder)
    return folder / "out"


@pytest.mark.full
def test_sdist_holds_every_source_once(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert "edgekit/converters/layout.py" in names
    assert "edgekit/device_profiles/phone/pixel8.toml" in names
    assert not any(name.startswith(("converters/", "emulators/")) for name in names)


@pytest.mark.full
def test_wheel_runs_the_main_job_in_an_empty_environment(
    distributions: Path, tmp_path: Path
) -> None:
    (wheel,) = distributions.glob("*.whl")
    assert wheel.name.startswith("edgekit-0.1.0-py3-none-")
    with zipfile.ZipFile(wheel) as archive:
        assert "edgekit/lib/libedgekit.so" in archive.namelist()
        assert "edgekit/report/style.css" in archive.namelist()
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "python", "-m", "pip", "install", "-q", f"{wheel}[onnx]", cwd=tmp_path)
    run(binaries / "edgekit", "doctor", cwd=tmp_path)
    run(binaries / "edgekit", "convert", "--device", "pixel8", "--out", "p", cwd=tmp_path)
    run(binaries / "python", "-m", "edgekit.zoo", "--out", "in.npz", cwd=tmp_path)
    answer = run(binaries / "edgekit", "run", "p", "--input", "in.npz", cwd=tmp_path)
    assert "scores: yes" in answer
    run(binaries / "edgekit", "report", "p", "--out", "report.html", cwd=tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_checkout_without_links_prints_the_remedy(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "edgekit", tmp_path / "edgekit", symlinks=True)
    for name in ("converters", "emulators", "device_profiles"):
        link = tmp_path / "edgekit" / name
        target = link.readlink()
        link.unlink()
        link.write_text(str(target))
    # -S: no site-packages, so that no installed edgekit is found instead.
    answer = run(sys.executable, "-S", "-m", "edgekit", "devices", cwd=tmp_path, code=1)
    assert "git config core.symlinks true" in answer
