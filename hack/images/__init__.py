"""Container images without a container engine: a local base, wheels from the host, buildah, `python -m images`."""
