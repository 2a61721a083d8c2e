"""The model room: a name or folder in, a `Model` out. The only room that imports transformer_lens.

layouts.py    where each family keeps its weights
statics.py    weights in the shapes that static scores need, from memory or streamed from disk
tokens.py     text <-> ids, word starts, the BOS rule
model.py      what a suite may ask of a model: logits, hooks, static weights
load.py       name | folder -> Model;  hub.py, checks.py, memory.py, hashing.py, selfcheck.py, boot.py serve it
"""
