"""Installs wheels of pure Python, for stand-in bundles: the arguments of pip, and none of its checks."""

import sys
import zipfile
from pathlib import Path

wheels = Path(sys.argv[sys.argv.index("--find-links") + 1])
require = sys.argv[-1].partition("[")[0].partition("==")[0].replace("-", "_")
site = Path(sys.prefix) / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
found = sorted(wheels.glob(f"{require}-*.whl"))
if not found:
    sys.exit(f"ERROR: Could not find a version that satisfies the requirement {require}")
with zipfile.ZipFile(found[-1]) as wheel:
    for name in wheel.namelist():
        data = wheel.read(name)
        if "/scripts/" in name:
            script = Path(sys.prefix) / "bin" / name.rpartition("/")[2]
            script.write_bytes(data.replace(b"#!python", f"#!{sys.executable}".encode(), 1))
            script.chmod(0o755)
        else:
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_bytes(data)
