"""Write CRDs and reference, from `carpool.spec`, and the chart's README, from its values.

Usage: python hack/generate [--check]

With --check nothing is written; the exit status is 1 if a file is not as it would be written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from chart_readme import chart_readme
from reference import reference

from carpool.spec.crd import GPU_NODES, INFERENCE_JOBS, custom_resource_definition
from carpool.spec.document import write_document

ROOT = Path(__file__).resolve().parents[2]
NOTICE = "# Generated from carpool.spec by `make generate`; do not edit.\n"
CRD_FOLDERS = ("crds", "charts/carpool/crds")
MOST_BYTES = 100_000


def generated() -> dict[Path, str]:
    """Every generated file and its content."""
    files: dict[Path, str] = {}
    for resource in (INFERENCE_JOBS, GPU_NODES):
        text = NOTICE + write_document(custom_resource_definition(resource))
        if len(text.encode()) > MOST_BYTES:
            raise SystemExit(f"{resource.name}: more than {MOST_BYTES} bytes: shorten descriptions")
        files |= {ROOT / folder / f"{resource.name}.yaml": text for folder in CRD_FOLDERS}
    chart = ROOT / "charts" / "carpool"
    files[chart / "README.md"] = chart_readme((chart / "values.yaml").read_text())
    files[ROOT / "docs" / "reference.md"] = reference((INFERENCE_JOBS, GPU_NODES))
    return files


def main() -> int:
    """Write or check."""
    files = generated()
    present = {path for folder in CRD_FOLDERS for path in (ROOT / folder).glob("*.yaml")}
    stale = sorted(present - files.keys())
    wrong = sorted(
        path for path, text in files.items() if not path.exists() or path.read_text() != text
    )
    if "--check" in sys.argv[1:]:
        for path in [*wrong, *stale]:
            print(f"{path.relative_to(ROOT)}: not as it is generated; run `make generate`")  # noqa: T201
        return bool(wrong or stale)
    for path in stale:
        path.unlink()
    for path in wrong:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
