"""A static site of many runs: settings.py names it, cards.py the gallery, links.py permalinks, build.py the files."""
