"""Hostile input: a corpus over every file the program reads (corpus/), and random damage to valid files.

A case is data: the words of a command, the files it is given, what the one line must say. Add one to the module of its
kind of input; tests/hostile/test_corpus.py runs them all through the command line's own entry point.
"""
