"""Measures the operator against a real API server: many models at once, what it costs, how soon it notices.

`python -m operator_bench` runs the figures of docs/operator-benchmarks.md. Nothing here gates CI.
"""
