"""How much each head attends to the first token: a suite in twenty lines."""

from functools import partial

import numpy as np

from reportgen.suites import Measure, Samples, Suite


def score(model, context):
    """Attention to the first token, on random tokens."""
    import torch  # imported here because figures are drawn without torch

    ids = np.random.default_rng(context.seed).integers(0, model.tokens.size, (64, 32))
    shares = [None] * model.record.n_layers

    def look(layer, pattern):  # [sequence head query key]
        shares[layer] = pattern[:, :, 1:, 0].mean(-1).float().cpu()  # [sequence head]

    model.run(torch.from_numpy(ids), {("pattern", i): partial(look, i) for i in range(len(shares))}, last=True)
    return Samples(torch.stack(shares, dim=1), of="sequences of 32 random tokens")  # [sequence layer head]


FORMULA = "mean over queries q >= 1 of pattern[q, 0]"
SHARE = Measure("share", "Attention to the first token", FORMULA, "High: the head attends mostly there.", range=(0, 1))
SUITE = Suite("first_token", score=score, measures=SHARE)
