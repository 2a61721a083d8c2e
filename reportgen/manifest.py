"""The contents of run.json: the typed record of a run; a malformed or newer file is refused with the place named.

msgspec checks every field on reading; nothing here imports torch.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec

SCHEMA_VERSION = 1  # raised when an old reader would misread a new run folder


def command_line() -> list[str]:
    """The command as typed, with ~ for the user's home, since runs are published; bytes beyond UTF-8 are escaped."""
    home = os.path.expanduser("~").rstrip("/") or "~"  # noqa: PTH111  Path.home raises where there is none
    words = [Path(sys.argv[0]).name, *(re.sub(rf"{re.escape(home)}(?=/|$)", "~", word) for word in sys.argv[1:])]
    return [word.encode("utf-8", "backslashreplace").decode() for word in words]


Size = Annotated[int, msgspec.Meta(ge=1, le=10_000)]  # of a grid: head names like L9999H9999 end there
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Status = Literal["done", "failed", "skipped"]


class SelfCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One batch's logits against Hugging Face's own forward pass of the same weights."""

    max_abs_diff: float  # largest |logit difference|
    logit_std: float  # standard deviation of the reference logits
    tolerance: float  # limit for max_abs_diff
    tokens: int  # positions compared
    passed: bool
    note: str = ""  # why it was not run, if so (then passed is False and tokens 0)


class SelfTest(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """Result of `reportgen selftest` on the installation that scored: planted answers and identities."""

    date: str  # ISO 8601, UTC
    sources: str  # sha256 over the package's Python files
    versions: dict[str, str]
    total: int  # checks run
    failed: list[str]  # their names
    note: str = ""  # why it was not run, if so (then total is 0)


class ModelRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The model as the report names it. Counts are of query heads; `n_kv_heads` < `n_heads` under grouped queries."""

    id: str  # hub id, "mini", or the folder's name
    slug: str  # folder name of the run
    source: str  # "bundled" | "folder" | "hub" | "import" | "fixture"
    revision: str  # hub commit sha; empty for a folder
    content_hash: str  # sha256 over sorted (name, sha256) of config, tokenizer and weight files
    family: str  # the config's model_type, e.g. "gpt2"
    n_layers: Size
    n_heads: Size
    n_kv_heads: Count
    d_model: Count
    d_head: Count
    d_vocab: Count  # columns of W_U, padding included
    n_ctx: Count
    n_params: Count
    dtype: str  # "float32", ...
    weights: str  # "raw" | "folded"
    bos: str  # "none" or the token, with the rule in words
    title: str = ""  # printed name ("GPT-2 medium"); empty = id
    synthetic: bool = False  # weights that were never trained, or made-up scores: watermarked everywhere
    self_check: SelfCheck | None = None
    hub_id: str = ""  # published head lists are matched by this, never by shape or folder name
    quantisation: str = ""  # of the GGUF file whose weights were dequantised, e.g. "Q4_1"; empty = none

    @property
    def name(self) -> str:
        """The name printed in titles."""
        return self.title or self.id

    @property
    def described(self) -> str:
        """The printed name, marked if the weights come from a quantised file."""
        return f"{self.name} ({self.dequantised})" if self.quantisation else self.name

    @property
    def dequantised(self) -> str:
        """`dequantised from Q4_1`; "" if the weights were never quantised."""
        return f"dequantised from {self.quantisation}" if self.quantisation else ""


class SuiteRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One suite's record in the run."""

    status: Status
    version: int
    settings: dict[str, object]  # with defaults
    given: dict[str, object]  # as given
    resume_key: str = ""
    elapsed_s: float = 0.0
    peak_memory_bytes: int = 0  # of the process, in RAM, since it began
    device_memory_bytes: int = 0  # peak tensor memory on a GPU during this suite; 0 on a CPU
    estimate_s: float | None = None  # estimated seconds before it started; None = not estimated
    phases: dict[str, float] = msgspec.field(default_factory=dict)  # phase -> seconds, longest first
    error: str = ""  # reason of a failure or skip, one line
    sha256: dict[str, str] = msgspec.field(default_factory=dict)  # file name in scores/ -> digest
    n: int = 0  # head scores stored
    data: dict[str, str] = msgspec.field(default_factory=dict)  # name of a data file -> digest
    dropped: list[str] = msgspec.field(default_factory=list)  # data that the tokenizer cannot encode, in words
    # Where and how this suite was scored; other suites of the run may differ. Empty: unknown.
    device: str = ""  # "cpu", "cuda:0", "mps"
    device_name: str = ""
    dtype: str = ""  # of the model during scoring
    threads: int = 0
    seed: int | None = None
    preset: str = ""
    versions: dict[str, str] = msgspec.field(default_factory=dict)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The whole of run.json. Device, threads, seed, preset and versions are those of the last command; each suite's
    record has its own, since a later command keeps finished suites."""

    schema_version: int
    model: ModelRecord
    device: str
    device_name: str
    threads: int
    seed: int
    preset: str
    created: str  # ISO 8601, UTC
    updated: str
    argv: list[str]
    versions: dict[str, str]
    git_commit: str = ""
    git_dirty: bool = False
    synthetic: bool = False
    suites: dict[str, SuiteRecord] = msgspec.field(default_factory=dict)
    overlays: list[str] = msgspec.field(default_factory=list)  # overlay files kept
    no_overlay: bool = False  # the last report was made with --no-overlay
    published_as: str = ""  # --published KEY
    beside: list[str] = msgspec.field(default_factory=list)  # --beside: folders of other runs of the model, by name
    self_test: SelfTest | None = None  # None: not known

    def scored(self) -> dict[str, SuiteRecord]:
        """Every suite's record with where it was scored; runs of reportgen 0.1 have that only for the run."""
        return {name: record if record.device else self.as_now(record) for name, record in self.suites.items()}

    def as_now(self, record: SuiteRecord) -> SuiteRecord:
        """`record` for a suite scored by this command."""
        return msgspec.structs.replace(
            record, device=self.device, device_name=self.device_name, dtype=self.model.dtype, threads=self.threads,
            seed=self.seed, preset=self.preset, versions=dict(self.versions),
        )  # fmt: skip
