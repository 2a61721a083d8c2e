"""Many models and many checkpoints: one run folder each, and a report over all of them.

spec.py      what to sweep: sweep.toml or the command line
members.py   models and revisions -> members, each with its run folder and training step
finished.py  which members an earlier sweep has finished, told without loading a model
work.py      the scoring of one member, by whichever engine
local.py     one member after another, in this process;  on_ray.py  members as Ray tasks
driver.py    the sweep itself: who is left, what came back, run.json and sweep.json
stored.py    a stored sweep, read;  series.py  its scores along the training steps
figures.py, page.py, render.py   the report; nothing from stored.py on imports torch

    <out>/<name>/
      sweep.json                  what was swept, and how each member ended
      <model>@<revision>/         an ordinary run folder for each member
      report/                     index.html, report.pdf, scores.csv, figures/
"""
