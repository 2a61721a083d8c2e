"""Two or more runs side by side: numbers.py computes differences, store.py the result, drawing.py its figures."""
