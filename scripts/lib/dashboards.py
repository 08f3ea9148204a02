"""Grafana's dashboards, all from one source so that they look alike. Pure.

Metrics are named as the OpenTelemetry collector hands them to Prometheus: `cqm.coordinator.lag` is `cqm_coordinator_lag`.
"""

from __future__ import annotations

import json

CALLS = "rpc_server_call_duration_seconds"
# Errors that are the suite's own: what a caller did wrong costs no budget.
OWN_ERRORS = "INTERNAL|UNKNOWN|DATA_LOSS|UNAVAILABLE|DEADLINE_EXCEEDED"
HALF = 12
HEIGHT = 8


def all_texts() -> dict[str, str]:
    """File names and contents."""
    every, one = "", '{job=~"cqm/$service"}'
    own = f'rpc_response_status_code=~"{OWN_ERRORS}"'
    boards = {
        "overview": _board("CQM overview", [
            _panel("Calls by process", "reqps", (f"sum by (job) (rate({CALLS}_count{every}[$__rate_interval]))", "{{job}}")),
            _panel("Share of calls that fail by the suite's fault", "percentunit",
                   (f"sum by (job) (rate({CALLS}_count{{{own}}}[$__rate_interval])) / sum by (job) (rate({CALLS}_count[$__rate_interval]))", "{{job}}")),
            _panel("Duration, 99th percentile", "s",
                   (f"histogram_quantile(0.99, sum by (le, job) (rate({CALLS}_bucket[$__rate_interval])))", "{{job}}")),
            _panel("Events that wait for the coordinator", "short", ("max by (cqm_source) (cqm_coordinator_lag)", "{{cqm_source}}")),
            _panel("Parked aggregates", "short", ("max by (cqm_source) (cqm_coordinator_parked)", "{{cqm_source}}")),
            _panel("Cache hits", "percentunit", (_hits(""), "{{cqm_cache_level}}")),
        ]),
        "service": _board("CQM one service", [
            _panel("Calls by method", "reqps", (f"sum by (rpc_method) (rate({CALLS}_count{one}[$__rate_interval]))", "{{rpc_method}}")),
            _panel("Calls by status", "reqps",
                   (f"sum by (rpc_response_status_code) (rate({CALLS}_count{one}[$__rate_interval]))", "{{rpc_response_status_code}}")),
            _panel("Duration by method, 99th percentile", "s",
                   (f"histogram_quantile(0.99, sum by (le, rpc_method) (rate({CALLS}_bucket{one}[$__rate_interval])))", "{{rpc_method}}")),
            _panel("Duration, median and 99th percentile", "s",
                   *((f"histogram_quantile({share}, sum by (le) (rate({CALLS}_bucket{one}[$__rate_interval])))", name)
                     for share, name in ((0.5, "median"), (0.99, "99 %")))),
            _panel("Cache hits", "percentunit", (_hits(one), "{{cqm_cache_level}}")),
            _panel("Redis switched off", "short", (f"sum(increase(cqm_cache_redis_switched_off_total{one}[$__rate_interval]))", "times")),
        ], variable=True),
        "coordinator": _board("CQM event log and coordinator", [
            _panel("Events that wait", "short", ("max by (cqm_source) (cqm_coordinator_lag)", "{{cqm_source}}")),
            _panel("From an event to the end of what follows, 95th percentile", "s",
                   ("histogram_quantile(0.95, sum by (le, cqm_source) (rate(cqm_coordinator_delay_seconds_bucket[$__rate_interval])))", "{{cqm_source}}")),
            _panel("Commands by reaction", "cps", ("sum by (cqm_reaction) (rate(cqm_coordinator_commands_total[$__rate_interval]))", "{{cqm_reaction}}")),
            _panel("Commands by outcome", "cps", ("sum by (cqm_outcome) (rate(cqm_coordinator_commands_total[$__rate_interval]))", "{{cqm_outcome}}")),
            _panel("Parked aggregates", "short", ("max by (cqm_source) (cqm_coordinator_parked)", "{{cqm_source}}")),
            _panel("Logs that are not the ones that were read", "short", ("max by (cqm_source) (cqm_coordinator_diverged)", "{{cqm_source}}")),
        ]),
    }
    return {name: json.dumps(board, indent=2) + "\n" for name, board in boards.items()}


def _hits(selector: str) -> str:
    inner = selector.strip("{}")
    hit = ", ".join(part for part in (inner, 'cqm_cache_outcome=~"hit|shared"') if part)
    rate = "sum by (cqm_cache_level) (rate(cqm_cache_lookups_total{}[$__rate_interval]))"
    return f"{rate.replace('{}', '{' + hit + '}')} / {rate.replace('{}', selector)}"


def _panel(title: str, unit: str, *queries: tuple[str, str]) -> dict:
    return {
        "title": title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [{"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
                    for index, (query, legend) in enumerate(queries)],
    }


def _board(title: str, panels: list[dict], variable: bool = False) -> dict:
    for index, panel in enumerate(panels):
        panel["id"] = index + 1
        panel["gridPos"] = {"x": index % 2 * HALF, "y": index // 2 * HEIGHT, "w": HALF, "h": HEIGHT}
    variables = [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
    if variable:
        variables.append({
            "name": "service", "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": f"label_values({CALLS}_count, job)", "regex": "cqm/(.*)", "refresh": 2, "sort": 1,
        })
    return {
        "uid": title.lower().replace(" ", "-"),
        "title": title,
        "tags": ["cqm"],
        "schemaVersion": 39,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": variables},
        "panels": panels,
    }
