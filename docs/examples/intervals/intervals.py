"""95 % of each harmonic of a month, of `opq-tools export intervals --format parquet --out FILE`.

pip install duckdb
python intervals.py november.parquet
"""

import sys

import duckdb


def percentiles(path: str, share: float = 0.95) -> dict[str, float]:
    """Returns harmonic -> the value that `share` of the unflagged intervals do not exceed, V."""
    rows = duckdb.read_parquet(path).filter("NOT flagged")
    orders = [name for name in rows.columns if name.startswith("h") and name.endswith("_v")]
    wanted = ", ".join(f"quantile_disc({name}, {share})" for name in orders)
    (found,) = rows.aggregate(wanted).fetchall()
    return dict(zip(orders, found, strict=True))


if __name__ == "__main__":
    for name, volts in percentiles(sys.argv[1]).items():
        print(f"{name:6} {volts:8.3f} V")
