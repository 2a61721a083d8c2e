"""The model room: a name or folder in, a `Model` out. The only room that imports transformer_lens.

layouts.py    where each family keeps its weights
statics.py    weights in the shapes that static scores need, from memory or streamed from disk
tokens.py     text <-> ids, word starts, the BOS rule
model.py      what a suite may ask of a model: logits, hooks, static weights
load.py       name | folder -> Model;  hub.py, checks.py, memory.py, hashing.py, selfcheck.py, boot.py serve it
"""

import os

# Threads that wait asleep rather than spinning: on a machine with other work, spinning at every small product's barrier
# took ten times as long. Read by OpenMP when torch is first imported; the user's own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
