"""`python -m images build|list|reload|clean`: the images of this repository without a container engine.

With hack/ on the path. Errors are one message on standard error and exit code 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cluster.errors import ClusterError
from images import builds
from images.catalog import BASE_NAME, BASE_PYTHON, IMAGES
from images.errors import ImageError
from images.rollout import reload


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m images", description="Build and load the container images.")
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build one or more images")
    build.add_argument("names", nargs="+", choices=[*IMAGES, "base", "all"], metavar="{operator,runtime,s3,base,all}")
    build.add_argument("--base-image", default="", help="build on this image instead of the local Debian base")
    build.add_argument("--python", default=BASE_PYTHON, metavar="3.N", help="Python of --base-image (%(default)s)")
    commands.add_parser("list", help="show what is built")
    again = commands.add_parser("reload", help="build, load into the cluster and replace the pods")
    again.add_argument("name", choices=["operator", "runtime"])
    again.add_argument("--namespace", default="", help="the operator's, or the models' (all)")
    clean = commands.add_parser("clean", help="remove the built images")
    clean.add_argument("--cache", action="store_true", help="also the base's tar and the downloaded wheels")
    return top


def show_list() -> None:
    """One line for each image, built or not."""
    names = {image.tag_name: image.summary for image in IMAGES.values()} | {BASE_NAME: "the local base"}
    for name, summary in names.items():
        built = builds.lookup(name)
        state = f"{built.size_mb:.0f} MB  {built.image_id[:12]}" if built else "not built"
        print(f"{name:40} {state:24} {summary}")


def build_all(names: Sequence[str], base: builds.Base) -> None:
    """Build what `names` says, each once."""
    if "base" in names:
        builds.build_base()
    for name, image in IMAGES.items():
        if name in names or "all" in names:
            builds.build(image, base)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "build":
            build_all(options.names, builds.Base(options.base_image, options.python))
        elif options.command == "list":
            show_list()
        elif options.command == "reload":
            reload(options.name, options.namespace)
        else:
            builds.clean(with_cache=options.cache)
    except (ImageError, ClusterError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
