"""What models need of a cluster around them, checked before the installation and while the operator runs.

`checks` judges what `surroundings` has observed, `record` says what is news; both are pure. `survey` is the command,
`watch` runs beside the workers, `reading` is what both ask of the API server.
"""
