"""Whether runs are of one lineage: across models a head index means nothing, only within one are heads subtracted."""

from __future__ import annotations

from collections.abc import Sequence

from reportgen.published.catalogue import plain_id
from reportgen.runfolder import Run


def lineage(runs: Sequence[Run], declared: bool = False) -> str:
    """Why head L1H2 of one run is head L1H2 of the others, in words; empty where it is not.

    The same weights, revisions of one model on the hub, or the user's word for it; the same grid in every case.
    """
    first = runs[0].model
    shape = (first.n_layers, first.n_heads)
    if any((run.model.n_layers, run.model.n_heads) != shape for run in runs):
        return ""
    imported = any(run.model.source == "import" for run in runs)
    if not imported and all(run.model.content_hash == first.content_hash for run in runs):
        return "the same weights"
    if first.hub_id and all(plain_id(run.model.hub_id) == plain_id(first.hub_id) for run in runs):
        return f"revisions of {first.hub_id}"
    return "declared with --lineage" if declared else ""
