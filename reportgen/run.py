"""Moved to reportgen.runfolder (removed soon)."""

from reportgen.runfolder import *  # noqa: F403
from reportgen.runfolder import Run, RunWriter  # noqa: F401
