"""Bytes of tensors alive at once, counted as torch makes and frees them: the same on every machine."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts storages made inside the block.

    live, peak  bytes now, and the most at once
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            self._note(leaf, made=False)
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            self._note(leaf, made=True)
        return out

    def _note(self, leaf: object, *, made: bool) -> None:
        if not isinstance(leaf, torch.Tensor) or leaf.device.type == "meta":
            return
        storage = leaf.untyped_storage()
        key, size = id(storage), storage.nbytes() if made else 0
        if key in self.known:
            return

        def freed(_: object) -> None:
            del self.known[key]
            self.live -= size

        self.known[key] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)
