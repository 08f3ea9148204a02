"""Figures: what other programs print is read right, and a table tells ratios to its limit."""

import tempfile
import unittest
from pathlib import Path

from lib import figures
from lib.figures import Row, Sample


def row(title: str, *speeds: float, limit: bool = False) -> Row:
    return Row(title, lambda: Sample(0.0), limit, [Sample(speed) for speed in speeds])


class Reading(unittest.TestCase):
    def test_the_generators_answer(self):
        sample = figures.sample_of(
            {"calls": 300, "failed": {"Unavailable": 2}, "seconds": 3.0, "p50_us": 500, "p99_us": 2500,
             "server_cpu_us": 6000, "generator_cpu_us": 3000}
        )
        self.assertEqual(sample, Sample(100.0, 0.5, 2.5, {"Unavailable": 2}, 20.0, 10.0))

    def test_a_run_without_one_good_call_has_no_latency(self):
        sample = figures.sample_of(
            {"calls": 0, "failed": {"Unavailable": 9}, "seconds": 3.0, "p50_us": None, "p99_us": None,
             "server_cpu_us": 0, "generator_cpu_us": 10}
        )
        self.assertEqual(sample, Sample(0.0, None, None, {"Unavailable": 9}, None, None))

    def test_pgbench_counts_only_its_window(self):
        with tempfile.TemporaryDirectory() as folder:
            first, second = Path(folder) / "log.7", Path(folder) / "log.7.1"
            # The warm-up's, two in the window, one behind it; a failed one has no time.
            first.write_text("0 1 900 0 100 0\n0 2 1000 0 101 500000\n0 3 5000 0 103 0\n")
            second.write_text("1 1 3000 0 102 999999\n1 2 failed 0 102 0\n")
            sample = figures.sample_of_pgbench([first, second], warmup=1, seconds=2)
        self.assertEqual(sample, Sample(1.0, 1.0, 3.0))

    def test_redis_benchmark_old_and_new(self):
        new = (
            '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"\n'
            '"GET","90090.09","0.3","0.1","0.25","0.4","0.5","1.0"\n'
        )
        self.assertEqual(figures.sample_of_redis_benchmark(new), Sample(90090.09, 0.25, 0.5))
        self.assertEqual(figures.sample_of_redis_benchmark('"GET","90090.09"\n'), Sample(90090.09))


class Telling(unittest.TestCase):
    def test_ratios_are_to_the_fastest_limit_by_medians(self):
        text = figures.table([row("slow limit", 10, limit=True), row("limit", 90, 100, 900, limit=True), row("ours", 25, 1, 30)])
        lines = text.splitlines()
        self.assertEqual(len({len(line) for line in lines}), 1, text)
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        self.assertEqual(cells[4][:4], ["ours", "25", "1 to 30", "0.25"])
        self.assertEqual([line[3] for line in cells[2:4]], ["0.10", "1.00"])

    def test_failures_of_all_rounds_add_up(self):
        one = row("ours")
        one.samples = [Sample(1.0, failed={"Aborted": 1}), Sample(1.0, failed={"Aborted": 2, "Unknown": 1})]
        self.assertEqual(one.failed(), {"Aborted": 3, "Unknown": 1})


if __name__ == "__main__":
    unittest.main()
