"""`make apiserver`: a control plane in the foreground, with Carpool's resources, until Ctrl-C."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from support.control_plane.binaries import find_binaries
from support.control_plane.plane import control_plane, shown_command

CRDS = Path(__file__).resolve().parents[3] / "crds"


def main() -> None:
    """Start it, say how to use it, wait."""
    binaries = find_binaries()
    # From here on a signal waits until everything stands, and then ends everything in order.
    stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    begun = time.monotonic()
    with control_plane(binaries) as plane:
        applied = plane.kubectl("apply", "--server-side", f"--filename={CRDS}")
        print(applied.stdout + applied.stderr, end="")
        print(
            f"Ready after {time.monotonic() - begun:.1f} s, for another shell:\n"
            f"  {shown_command(plane)}\n"
            f"  export PATH={plane.binaries.kubectl.parent}:$PATH\n"
            "  kubectl apply --validate=strict -f examples/local-oracle.yaml\n"
            "  kubectl get ij\n"
            f"Logs and the audit log are in {plane.folder}. Nothing runs jobs here: there is no "
            "kubelet.\nCtrl-C ends it and removes everything.",
            flush=True,
        )
        signal.sigwait(stop)


main()
