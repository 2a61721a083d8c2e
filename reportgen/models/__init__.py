"""The model room: the only one that imports transformer_lens. `load.load(name_or_folder, ...)` gives a `model.Model`."""
