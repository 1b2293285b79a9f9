"""Writes a JSONL workload as Parquet with several programs, and prints the names of the files."""

import json
import sys

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.parquet

with open(sys.argv[1]) as file:
    rows = [json.loads(line) for line in file]


def wrote(name):
    print(name)
    return name


# Keys that a row does not have are nulls.
table = pyarrow.Table.from_pylist([{key: row.get(key) for row_ in rows for key in row_} for row in rows])
for compression in ["snappy", "zstd", "none"]:
    pyarrow.parquet.write_table(table, wrote(f"arrow-{compression}.parquet"), compression=compression, row_group_size=7)
polars.DataFrame(rows, infer_schema_length=None).write_parquet(wrote("polars.parquet"))
# Here, whole numbers become reals where some are missing.
pandas.DataFrame(rows).to_parquet(wrote("pandas.parquet"), index=False)
duckdb.from_arrow(table).write_parquet(wrote("duckdb.parquet"))
