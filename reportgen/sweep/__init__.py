"""Many models and many checkpoints: one run folder each, and a report over all of them.

spec.py      what to sweep: sweep.toml or the command line -> members, each with its run folder and training step
driver.py    the sweep itself: finished and remaining members, scoring of one, run.json and sweep.json
on_ray.py    members as Ray tasks, and the checks of every machine
stored.py    reading a stored sweep, and its scores along the training steps
figures.py, render.py   the report; nothing from stored.py on imports torch

    <out>/<name>/
      sweep.json                  the members and their status
      <model>@<revision>/         an ordinary run folder for each member
      report/                     index.html, report.pdf, scores.csv, figures/
"""
