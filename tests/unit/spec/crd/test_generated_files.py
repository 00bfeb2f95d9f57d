"""What is generated from the models is committed as it would be generated now."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from carpool.spec import GpuNode, InferenceJob
from carpool.spec.schema import RULES, schema_with_rules

ROOT = Path(__file__).resolve().parents[4]
CRDS = sorted((ROOT / "crds").glob("*.yaml"))
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "hack" / "generate"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_generated_file_has_drifted():
    checked = generate(ROOT, "--check")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("crds", "charts", "docs", "hack/generate"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_drift_is_found_named_and_mended(copy: Path):
    changed = copy / "charts" / "carpool" / "crds" / CRDS[0].name
    changed.write_text(changed.read_text().replace("Carpool", "carpool") + "# more\n")
    stale = copy / "crds" / "old.carpool.dev.yaml"
    stale.write_text("{}\n")
    (copy / "docs" / "reference.md").unlink()
    checked = generate(copy, "--check")
    assert checked.returncode == 1
    assert checked.stdout.splitlines() == [
        f"{path}: not as it is generated; run `make generate`"
        for path in (
            f"charts/carpool/crds/{CRDS[0].name}",
            "docs/reference.md",
            "crds/old.carpool.dev.yaml",
        )
    ]
    assert generate(copy).returncode == 0
    assert generate(copy, "--check").returncode == 0
    assert not stale.exists()


def test_definitions_are_small_enough_for_client_side_apply():
    # kubectl apply keeps the whole object in an annotation of at most 262144 bytes.
    assert len(CRDS) == 2
    for path in CRDS:
        assert path.stat().st_size < 100_000


def test_reference_names_every_field_and_every_rule():
    for model in (InferenceJob, GpuNode):
        for name, definition in schema_with_rules(model)["$defs"].items():
            if name in ("ObjectMeta", "GpuNodeMeta"):
                continue
            for field in definition["properties"]:
                assert f"| `{field}` |" in REFERENCE, f"{name}.{field}"
            for rule in definition.get(RULES, ()):
                assert rule.message in REFERENCE


def test_links_of_the_reference_lead_somewhere():
    anchors = set(re.findall(r'<a id="([^"]+)">', REFERENCE))
    links = set(re.findall(r"\]\(#([^)]+)\)", REFERENCE))
    assert links
    assert links <= anchors
