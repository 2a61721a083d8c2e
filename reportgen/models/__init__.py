"""Models: from a name or folder to a `Model`. The only package that imports transformer_lens.

weights.py    where each family keeps its weights; in the shapes that static scores need, from memory or from disk
tokens.py     text <-> ids, word starts, the BOS rule
model.py      what a suite can use of a model: logits, hooks, static weights
load.py       name | folder -> Model;  hub.py, gguf.py, checks.py, memory.py, selfcheck.py serve it
"""

import os

# Idle threads sleep instead of spinning: on a busy machine, spinning at the barrier of every small product
# took ten times as long. Read by OpenMP when torch is first imported; the user's own setting takes precedence.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
