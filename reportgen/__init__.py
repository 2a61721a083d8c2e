"""reportgen: static reports and figures for the attention heads of language models.

    import reportgen
    run = reportgen.run("mini")                    # score every head, render the report
    run = reportgen.load_run("runs/mini")          # an earlier run, without torch
    reportgen.heatmap(array, overlays={"Name movers": ["L9H6", "L9H9"]})

Importing this package is cheap: torch and altair are imported when a function needs them.
"""

from __future__ import annotations

__version__ = "0.1.0"
