"""Runs the emulator's contract tests on silicon and writes down what came of it: `make verify-on-hardware`.

Standard library and pytest only, because it runs under whichever interpreter has torch_neuronx. `machine` finds what is
here, `contract_run` runs the tests, `report` writes down what came of them, without secrets, as JSON and as a page.
"""
