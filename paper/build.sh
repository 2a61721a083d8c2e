#!/usr/bin/env bash
# Draws the figures of paper.tex from the stored run, compiles it, and checks it against the run.
#   paper/build.sh [RUN] [FOLDER]     RUN: site/runs/mini; FOLDER: where everything is written, paper/out
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-$here/../site/runs/mini}
out=${2:-$here/out}
command -v pdflatex >/dev/null || { echo "no LaTeX: apt-get install texlive-latex-recommended" >&2; exit 2; }

mkdir -p "$out/figures"
[ -f "$run/report/numbers.tex" ] || reportgen render "$run" >/dev/null
cp "$run/report/numbers.tex" "$run/report/references.bib" "$here/paper.tex" "$out/"
for figure in attention-induction relations-name_copying; do
  reportgen figure "$run" "$figure" --format pdf --width 3.25in --out "$out/figures/$figure.pdf" >/dev/null
done

cd "$out"
latex=(pdflatex -interaction=nonstopmode -halt-on-error -no-shell-escape paper.tex)
"${latex[@]}" >/dev/null || { tail -n 20 paper.log >&2; exit 1; }
bibtex paper >/dev/null
"${latex[@]}" >/dev/null
"${latex[@]}" >/dev/null
reportgen check paper.tex --run "$run"
