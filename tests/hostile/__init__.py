"""Hostile input: what each part of the package that parses does with anything at all.

``targets`` lists the properties, ``python -m tests.hostile`` runs them for minutes with random seeds.
"""
