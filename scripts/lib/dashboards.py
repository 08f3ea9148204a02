"""Grafana's dashboards, all from one source so that they look alike. Pure.

Metrics are named as Prometheus gets them, from the OpenTelemetry collector or from `/metrics`: `cqm.event_log.lag` is
`cqm_event_log_lag`. What is looked up in a database is told alike by every replica, so it is never summed: `max by`.
"""

from __future__ import annotations

import json

CALLS = "rpc_server_call_duration_seconds"
ATTEMPTS = "rpc_client_call_duration_seconds"
# Errors that are the suite's own: what a caller did wrong costs no budget.
OWN_ERRORS = "INTERNAL|UNKNOWN|DATA_LOSS|UNAVAILABLE|DEADLINE_EXCEEDED"
OWN = f'rpc_response_status_code=~"{OWN_ERRORS}"'
ONE = '{job=~"cqm/$service"}'
HALF = 12
HEIGHT = 8


def all_texts() -> dict[str, str]:
    """File names and contents."""
    boards = {"overview": _overview(), "service": _service(), "coordinator": _coordinator(), "business": _business()}
    return {name: json.dumps(board, indent=2) + "\n" for name, board in boards.items()}


def _overview() -> dict:
    return _board("CQM overview", [
        _panel("Calls by process", "reqps", (f"sum by (job) ({_rate(CALLS + '_count')})", "{{job}}")),
        _panel("Share of calls that fail by the suite's fault", "percentunit",
               (f"sum by (job) ({_rate(CALLS + '_count', '{' + OWN + '}')}) / sum by (job) ({_rate(CALLS + '_count')})", "{{job}}")),
        _panel("Duration, 99th percentile", "s", (_quantile(0.99, CALLS, "job"), "{{job}}")),
        _panel("Events that wait for a reader", "short",
               ("max by (cqm_source, cqm_consumer) (cqm_event_log_lag)", "{{cqm_source}}, {{cqm_consumer}}")),
        _panel("Parked aggregates", "short",
               ("max by (cqm_source, cqm_consumer) (cqm_event_log_parked)", "{{cqm_source}}, {{cqm_consumer}}")),
        _panel("Cache hits", "percentunit", (_hits("", "cqm_cache_level"), "{{cqm_cache_level}}")),
        _panel("Callers that wait for a connection", "short",
               ("sum by (job) (db_client_connection_pending_requests)", "{{job}}")),
        _panel("Mail that is due", "short", ("max(cqm_notifications_due)", "messages")),
    ])


def _service() -> dict:
    return _board("CQM one service", [
        _panel("Calls by method", "reqps", (f"sum by (rpc_method) ({_rate(CALLS + '_count', ONE)})", "{{rpc_method}}")),
        _panel("Calls by status", "reqps",
               (f"sum by (rpc_response_status_code) ({_rate(CALLS + '_count', ONE)})", "{{rpc_response_status_code}}")),
        _panel("Duration by method, 99th percentile", "s", (_quantile(0.99, CALLS, "rpc_method", ONE), "{{rpc_method}}")),
        _panel("Duration, median and 99th percentile", "s",
               *((_quantile(share, CALLS, "", ONE), name) for share, name in ((0.5, "median"), (0.99, "99 %")))),
        _panel("Attempts to call others, by method", "reqps",
               (f"sum by (rpc_method) ({_rate(ATTEMPTS + '_count', ONE)})", "{{rpc_method}}")),
        _panel("Attempts to call others that fail by the suite's fault", "reqps",
               (f"sum by (rpc_method, rpc_response_status_code) ({_rate(ATTEMPTS + '_count', _and(ONE, OWN))})",
                "{{rpc_method}}, {{rpc_response_status_code}}")),
        _panel("Attempts to call others, 99th percentile", "s", (_quantile(0.99, ATTEMPTS, "rpc_method", ONE), "{{rpc_method}}")),
        _panel("Connections to the database", "short",
               (f"sum by (db_client_connection_state) (db_client_connection_count{ONE})", "{{db_client_connection_state}}"),
               (f"sum(db_client_connection_max{ONE})", "allowed"),
               (f"sum(db_client_connection_pending_requests{ONE})", "callers that wait")),
        _panel("Callers that got no connection", "cps", (f"sum({_rate('db_client_connection_timeouts_total', ONE)})", "a second")),
        _panel("Cache hits by kind", "percentunit",
               (_hits(ONE, "cqm_cache_kind, cqm_cache_level"), "{{cqm_cache_kind}}, {{cqm_cache_level}}")),
        _panel("Redis switched off", "short", (f"sum(increase(cqm_cache_redis_switched_off_total{ONE}[$__rate_interval]))", "times")),
        _panel("Requests in a batch, median and 99th percentile", "short",
               *((_quantile(share, "cqm_coalescer_batch_size", "", ONE), name) for share, name in ((0.5, "median"), (0.99, "99 %")))),
        _panel("Turns of workers", "cps",
               (f"sum by (cqm_worker) ({_rate('cqm_worker_turn_duration_seconds_count', ONE)})", "{{cqm_worker}}")),
        _panel("Workers that failed", "short",
               (f"sum by (cqm_worker) (increase(cqm_worker_failures_total{ONE}[$__rate_interval]))", "{{cqm_worker}}")),
    ], variable=True)


def _coordinator() -> dict:
    return _board("CQM event log and coordinator", [
        _panel("Events that wait for a reader", "short",
               ("max by (cqm_source, cqm_consumer) (cqm_event_log_lag)", "{{cqm_source}}, {{cqm_consumer}}")),
        _panel("Events that wait for their position", "short", ("max by (cqm_source) (cqm_event_log_pending)", "{{cqm_source}}")),
        _panel("From an event to the end of what follows, 95th percentile", "s",
               (_quantile(0.95, "cqm_coordinator_delay_seconds", "cqm_source"), "{{cqm_source}}")),
        _panel("Commands by reaction", "cps", (f"sum by (cqm_reaction) ({_rate('cqm_coordinator_commands_total')})", "{{cqm_reaction}}")),
        _panel("Commands by outcome", "cps", (f"sum by (cqm_outcome) ({_rate('cqm_coordinator_commands_total')})", "{{cqm_outcome}}")),
        _panel("Parked aggregates", "short",
               ("max by (cqm_source, cqm_consumer) (cqm_event_log_parked)", "{{cqm_source}}, {{cqm_consumer}}")),
        _panel("Parked aggregates, as the coordinator sees them", "short",
               ("max by (cqm_source) (cqm_coordinator_parked)", "{{cqm_source}}")),
        _panel("Logs that are not the ones that were read", "short", ("max by (cqm_source) (cqm_coordinator_diverged)", "{{cqm_source}}")),
    ])


def _business() -> dict:
    answers = "max by (cqm_purpose, cqm_answer) (cqm_surveys_recommendations"
    by_purpose = f"sum by (cqm_purpose) ({answers}"
    score = " - ".join(f'{by_purpose}{{cqm_answer="{answer}"}}))' for answer in ("promoter", "detractor"))
    clocks = 'max by (cqm_clock_state) (cqm_complaints_sla{cqm_clock="%s"})'
    points = 'max by (cqm_kind) (cqm_loyalty_points{cqm_kind=~"%s"})'
    return _board("CQM business", [
        _panel("Open complaints by severity", "short",
               ("sum by (cqm_severity) (max by (cqm_severity, cqm_state) (cqm_complaints_open))", "{{cqm_severity}}")),
        _panel("Open complaints by state", "short",
               ("sum by (cqm_state) (max by (cqm_severity, cqm_state) (cqm_complaints_open))", "{{cqm_state}}")),
        _panel("Oldest complaint that nobody has taken note of", "s", ("max(cqm_complaints_oldest_unacknowledged_seconds)", "waits")),
        _panel("Complaints by how their first response's clock stands", "short", (clocks % "FIRST_RESPONSE", "{{cqm_clock_state}}")),
        _panel("Complaints by how their resolution's clock stands", "short", (clocks % "RESOLUTION", "{{cqm_clock_state}}")),
        _panel("Net promoter score, answers of 30 days", "none", (f"100 * ({score}) / {by_purpose}))", "{{cqm_purpose}}"), least=-100),
        _panel("Answers that it is made of", "short", (f"{answers})", "{{cqm_purpose}}, {{cqm_answer}}")),
        _panel("Points issued, taken back and redeemed on the last closed day", "short",
               (points % "EARN|REVERSE_EARN|REDEEM|COMMIT|EXPIRE", "{{cqm_kind}}")),
        _panel("Messages that are due", "short", ("max(cqm_notifications_due)", "messages")),
        _panel("The message that has been due longest", "s", ("max(cqm_notifications_oldest_due_seconds)", "waits")),
    ])


def _rate(metric: str, selector: str = "") -> str:
    return f"rate({metric}{selector}[$__rate_interval])"


def _quantile(share: float, metric: str, by: str, selector: str = "") -> str:
    labels = ", ".join(label for label in ("le", by) if label)
    return f"histogram_quantile({share}, sum by ({labels}) ({_rate(metric + '_bucket', selector)}))"


def _and(selector: str, more: str) -> str:
    return "{" + ", ".join(part for part in (selector.strip("{}"), more) if part) + "}"


def _hits(selector: str, by: str) -> str:
    hit = _and(selector, 'cqm_cache_outcome=~"hit|shared"')
    hits, all_of_them = (_rate("cqm_cache_lookups_total", one) for one in (hit, selector))
    return f"sum by ({by}) ({hits}) / sum by ({by}) ({all_of_them})"


def _panel(title: str, unit: str, *queries: tuple[str, str], least: int = 0) -> dict:
    return {
        "title": title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": unit, "min": least}, "overrides": []},
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
