"""Other servers around the same model, one adapter file each, as their documentation shows it.

`adapter_*` and `served_model` run in the peers' own environment and import nothing of this repository but each other.
"""
