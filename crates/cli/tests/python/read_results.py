"""Holds what PyArrow, Polars, pandas and DuckDB read in Parquet files to the CSV files of the same run."""

import csv
import sys

import duckdb
import pandas
import polars
import pyarrow.parquet

requests_csv, requests_parquet, intervals_csv, intervals_parquet = sys.argv[1:]

# As docs/parquet.md has them.
CSV_NAMES = {
    "instance": "instance id",
    "request": "request id",
    "input_tokens": "input",
    "output_tokens": "output",
    "arrival_ns": "arrival",
    "end_ns": "end_time",
    "latency_ns": "latency",
    "queuing_delay_ns": "queuing_delay",
    "ttft_ns": "TTFT",
    "tpot_ns": "TPOT",
    "itl_ns": "ITL",
    "queued_ns": "queued",
    "first_scheduled_ns": "first_scheduled",
    "first_token_ns": "first_token",
    "first_delivered_ns": "first_delivered",
}


def tables(path):
    """The rows of a file, by reader, with nulls as None."""
    yield "pyarrow", pyarrow.parquet.read_table(path).to_pylist()
    yield "polars", polars.read_parquet(path).to_dicts()
    relation = duckdb.read_parquet(path)
    yield "duckdb", [dict(zip(relation.columns, row)) for row in relation.fetchall()]
    frame = pandas.read_parquet(path, dtype_backend="pyarrow").astype(object)
    yield "pandas", frame.where(frame.notna(), None).to_dict("records")


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def check_requests():
    expected = {int(row["request id"]): row for row in rows_of(requests_csv)}
    for reader, rows in tables(requests_parquet):
        assert len(rows) == len(expected), reader
        ends = [row["end_ns"] for row in rows]
        assert ends == sorted(ends), f"{reader}: rows stand in order of completion"
        for row in rows:
            of_csv = dict(expected[row["request"]])
            for name, cell in row.items():
                text = of_csv.pop(CSV_NAMES.get(name, name))
                found = str([int(latency) for latency in cell]) if name == "itl_ns" else str(cell)
                assert found == text, (reader, name, found, text)
            assert not of_csv, f"{reader} lacks {of_csv}"


def check_intervals():
    expected = rows_of(intervals_csv)
    for reader, rows in tables(intervals_parquet):
        assert len(rows) == len(expected), reader
        for row, of_csv in zip(rows, expected):
            assert list(row) == list(of_csv), reader
            for name, cell in row.items():
                text = of_csv[name]
                decimals = len(text.partition(".")[2])
                found = "" if cell is None else f"{cell:.{decimals}f}" if isinstance(cell, float) else str(cell)
                assert found == text, (reader, name, found, text)


check_requests()
check_intervals()
