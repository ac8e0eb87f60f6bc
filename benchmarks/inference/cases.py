"""What is asked of every contender."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Requests of `rows` rows over `connections` connections."""

    key: str
    title: str
    network: str
    rows: int
    connections: int
    binary: bool = False


CASES = {
    case.key: case
    for case in (
        Case("json-1-c1", "1 row, JSON, 1 connection", "mlp", 1, 1),
        Case("json-1-c16", "1 row, JSON, 16 connections", "mlp", 1, 16),
        Case("json-1-c64", "1 row, JSON, 64 connections", "mlp", 1, 64),
        Case("json-64-c8", "64 rows, JSON, 8 connections", "mlp", 64, 8),
        Case("binary-1-c64", "1 row, binary, 64 connections", "mlp", 1, 64, binary=True),
        Case("binary-64-c8", "64 rows, binary, 8 connections", "mlp", 64, 8, binary=True),
        Case("cnn-json-c16", "CNN, 1 image, JSON, 16 connections", "cnn", 1, 16),
        Case("cnn-binary-c16", "CNN, 1 image, binary, 16 connections", "cnn", 1, 16, binary=True),
    )
}
