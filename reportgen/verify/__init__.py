"""A stored run scored again: does the same model, with the same settings, give the same numbers?"""
