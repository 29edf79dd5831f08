"""Makes `countries-110m.json.gz` and `countries-50m.json.gz` from the Natural Earth data of an npm package.

  npm pack world-atlas@2.0.2
  python tools/make_outlines.py world-atlas-2.0.2.tgz

Each file: `{"scale", "sizes", "steps", "land", "borders"}`. `steps` is [dx, dy, dx, dy, ...] over all points
of all arcs, in whole multiples of `scale` degrees (longitude, latitude), the first from 0, 0; `sizes` is the
number of points of each arc. `land` lists rings of arcs (TopoJSON: ~k is arc k backwards), `borders` the arcs
that two countries share. The sums of source and result are in
`cloud/opq_cloud/view/pages/map/outlines/OUTLINES.md`; a test checks the files.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

SOURCE_SHA256 = "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97"
"""world-atlas-2.0.2.tgz: Natural Earth 4.1.0 (public domain) as TopoJSON."""
FOLDER = Path(__file__).resolve().parents[1] / "cloud/opq_cloud/view/pages/map/outlines"
SCALES = {"110m": 0.02, "50m": 0.01}
"""Degrees; 0.01 is 1.1 km, a fifth of the size of a pixel on the smallest map that uses 50m."""
Shape = Mapping[str, object]
Point = tuple[int, int]


def whole_points(arc: list[list[int]], transform: Mapping[str, list[float]], scale: float) -> list[Point]:
    """Points of one arc, two at least, in multiples of `scale`; equal neighbours are joined."""
    (kx, ky), (x0, y0) = transform["scale"], transform["translate"]
    x = y = 0
    points: list[Point] = []
    for dx, dy in arc:
        x, y = x + dx, y + dy
        point = round((x * kx + x0) / scale), round((y * ky + y0) / scale)
        if not points or point != points[-1]:
            points.append(point)
    return points if len(points) > 1 else points * 2


def rings(shape: Shape) -> Iterator[list[int]]:
    """Every ring of a TopoJSON geometry, whatever its kind."""
    found = shape.get("geometries")
    if isinstance(found, list):
        for inner in found:
            yield from rings(inner)
    arcs = shape.get("arcs")
    if not isinstance(arcs, list):
        return
    polygons: Iterable[list[list[int]]] = arcs if shape["type"] == "MultiPolygon" else [arcs]
    for polygon in polygons:
        yield from polygon


def outlines(topology: dict, scale: float) -> dict[str, object]:  # type: ignore[type-arg]
    """One file's content."""
    owners: dict[int, set[int]] = {}
    for number, country in enumerate(topology["objects"]["countries"]["geometries"]):
        for ring in rings(country):
            for arc in ring:
                owners.setdefault(arc if arc >= 0 else ~arc, set()).add(number)
    arcs = [whole_points(arc, topology["transform"], scale) for arc in topology["arcs"]]
    points = [(0, 0), *(point for arc in arcs for point in arc)]
    return {
        "scale": scale,
        "sizes": [len(arc) for arc in arcs],
        "steps": [b - a for before, after in pairwise(points) for a, b in zip(before, after, strict=True)],
        "land": list(rings(topology["objects"]["land"])),
        "borders": sorted(arc for arc, countries in owners.items() if len(countries) > 1),
    }


def main() -> None:
    """Reads the tarball named on the command line, writes into this folder, prints the sums."""
    packed = Path(sys.argv[1]).read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != SOURCE_SHA256:
        sys.exit(f"{sys.argv[1]} has the sha256 {found}; wanted {SOURCE_SHA256}")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for name, scale in SCALES.items():
            member = tar.extractfile(f"package/countries-{name}.json")
            assert member is not None
            text = json.dumps(outlines(json.load(member), scale), separators=(",", ":")).encode()
            path = FOLDER / f"countries-{name}.json.gz"
            path.write_bytes(gzip.compress(text, 9, mtime=0))
            print(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), hashlib.sha256(text).hexdigest())


if __name__ == "__main__":
    main()
