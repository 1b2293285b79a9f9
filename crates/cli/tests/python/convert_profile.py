"""Puts Parquet files in the places of the CSV files of a profile."""

import pathlib
import sys

import polars

for table in pathlib.Path(sys.argv[1]).glob("tp*/*.csv"):
    polars.read_csv(table).write_parquet(table.with_suffix(".parquet"))
    table.unlink()
