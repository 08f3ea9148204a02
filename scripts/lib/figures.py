"""What ./scripts/bench has measured: one sample for each round, medians, and the table that shows them."""

from __future__ import annotations

import csv
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterable, Optional


@dataclass(frozen=True)
class Sample:
    """One measurement. None: not known."""

    per_second: float
    p50_ms: Optional[float] = None
    p99_ms: Optional[float] = None
    # By gRPC's code.
    failed: dict = field(default_factory=dict)
    # Time on the processors for one call.
    server_us: Optional[float] = None
    generator_us: Optional[float] = None


@dataclass
class Row:
    """One line of a table: what is measured, and what it came to in each round."""

    title: str
    measure: Callable[[], Sample]
    # Stands beside the others as their limit.
    limit: bool = False
    samples: list[Sample] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.median("per_second") or 0.0

    def median(self, name: str) -> Optional[float]:
        values = [getattr(sample, name) for sample in self.samples]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None

    def failed(self) -> dict:
        total: dict = {}
        for sample in self.samples:
            for code, count in sample.failed.items():
                total[code] = total.get(code, 0) + count
        return total


def sample_of(answer: dict) -> Sample:
    """What the load generator printed."""
    calls = answer["calls"]
    return Sample(
        per_second=calls / answer["seconds"],
        p50_ms=_scaled(answer["p50_us"], 1000),
        p99_ms=_scaled(answer["p99_us"], 1000),
        failed=answer["failed"],
        server_us=answer["server_cpu_us"] / calls if calls and answer["server_cpu_us"] else None,
        generator_us=answer["generator_cpu_us"] / calls if calls else None,
    )


def sample_of_pgbench(logs: Iterable[Path], warmup: float, seconds: float) -> Sample:
    """What pgbench wrote about each transaction, that is at its end, within the window behind the warm-up."""
    # client, transaction, microseconds it took, script, end in seconds, and its microseconds
    lines = [line.split() for log in logs for line in log.read_text().splitlines()]
    ended = [(int(line[4]) + int(line[5]) / 1e6, int(line[2])) for line in lines if line[2].isdigit()]
    if not ended:
        return Sample(0.0)
    opens = min(end for end, _ in ended) + warmup
    taken = sorted(taken for end, taken in ended if opens <= end < opens + seconds)
    return Sample(
        len(taken) / seconds,
        p50_ms=_scaled(percentile(taken, 50), 1000),
        p99_ms=_scaled(percentile(taken, 99), 1000),
    )


def sample_of_redis_benchmark(text: str) -> Sample:
    """What `redis-benchmark --csv` printed: names, then one line. Old versions print the line alone."""
    lines = [line for line in csv.reader(text.splitlines()) if len(line) > 1]
    line = dict(zip(lines[0], lines[-1])) if len(lines) > 1 else {"rps": lines[0][1]}
    return Sample(
        float(line["rps"]), _number(line.get("p50_latency_ms")), _number(line.get("p99_latency_ms"))
    )


def percentile(ordered: list, share: int):
    """The smallest value that at least `share` percent do not exceed; None of nothing."""
    return ordered[max(1, math.ceil(len(ordered) * share / 100)) - 1] if ordered else None


COLUMNS = ("", "a second", "least to most", "to the limit", "p50 ms", "p99 ms", "failed", "server µs", "load µs")


def table(rows: list[Row]) -> str:
    """As Markdown that can be read unrendered. The limit is the fastest of the rows that are limits."""
    limit = max((row.per_second for row in rows if row.limit), default=0.0)
    cells = [COLUMNS] + [_cells(row, limit) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = ["| " + " | ".join(_padded(cell, width, at) for at, (cell, width) in enumerate(zip(line, widths))) + " |"
             for line in cells]
    rule = "|" + "|".join(("-" * (width + 2)) if at == 0 else ("-" * (width + 1) + ":") for at, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def failures(rows: list[Row]) -> list[str]:
    """Calls that failed are not counted as calls, and never passed over."""
    lines = []
    for row in rows:
        if row.failed():
            codes = ", ".join(f"{count:,} {code}" for code, count in sorted(row.failed().items()))
            lines.append(f"FAILED, {row.title}: {codes}.")
    return lines


def _cells(row: Row, limit: float) -> tuple:
    speeds = [sample.per_second for sample in row.samples]
    failed = sum(row.failed().values())
    return (
        row.title,
        f"{row.per_second:,.0f}",
        f"{min(speeds):,.0f} to {max(speeds):,.0f}",
        f"{row.per_second / limit:.2f}" if limit else "",
        _shown(row.median("p50_ms"), 2),
        _shown(row.median("p99_ms"), 2),
        f"{failed:,}",
        _shown(row.median("server_us"), 1),
        _shown(row.median("generator_us"), 1),
    )


def _padded(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _shown(value: Optional[float], digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _scaled(value: Optional[float], by: float) -> Optional[float]:
    return None if value is None else value / by


def _number(text: Optional[str]) -> Optional[float]:
    return float(text) if text else None
