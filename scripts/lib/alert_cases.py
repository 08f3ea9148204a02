"""When each alert fires and when it does not, as promtool's series. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

CALLS = "rpc_server_call_duration_seconds_count"


@dataclass(frozen=True)
class Case:
    alert: str
    what: str
    # A sample a minute, in promtool's notation, by series.
    series: dict
    at: str
    # The labels with which it fires, beside its severity; None: it does not fire.
    labels: dict = field(default_factory=dict)
    fires: bool = True


def calls(good: int, bad: int, minutes: int, job: str = "gateway", status: str = "UNAVAILABLE", after: str = "") -> dict:
    """So many more calls each minute."""
    of = f'job="cqm/{job}", rpc_response_status_code='
    return {
        f'{CALLS}{{{of}"OK"}}': f"0+{good}x{minutes}",
        f'{CALLS}{{{of}"{status}"}}': f"0+{bad}x{minutes}{after}",
    }


def lag(events: str) -> dict:
    return {
        'cqm_event_log_lag{job="cqm/complaints", pod="a", cqm_source="complaints", cqm_consumer="coordinator"}': events,
        'cqm_event_log_lag{job="cqm/complaints", pod="b", cqm_source="complaints", cqm_consumer="coordinator"}': events,
    }


READER = {"cqm_source": "complaints", "cqm_consumer": "coordinator"}
PARKED = 'cqm_event_log_parked{cqm_source="complaints", cqm_consumer="coordinator"}'
DIVERGED = 'cqm_coordinator_diverged{cqm_source="complaints"}'
REDIS = 'cqm_cache_redis_switched_off_total{job="cqm/complaints"}'
POOL = 'db_client_connection_timeouts_total{job="cqm/loyalty", pod="a"}'
MAIL = "cqm_notifications_oldest_due_seconds"
WORKER = 'cqm_worker_failures_total{job="cqm/surveys", cqm_worker="expire invitations"}'
CERTIFICATE = 'cqm_tls_certificate_expiry_seconds{job="cqm/gateway"}'
DAY = 86400
LATE = 'cqm_complaints_sla{job="cqm/complaints", pod="%s", cqm_clock="RESOLUTION", cqm_clock_state="%s"}'
LEDGER = 'cqm_loyalty_ledger_faults_total{job="cqm/loyalty"}'

CASES = (
    # 2 % of the calls are 20 times the share that the objective allows.
    Case("CqmErrorBudgetBurnsFast", "a fiftieth fails", calls(980, 20, 120), "1h30m"),
    Case("CqmErrorBudgetBurnsFast", "one in a hundred fails, which the slow alert is for", calls(990, 10, 120), "1h30m", fires=False),
    Case("CqmErrorBudgetBurnsFast", "callers' own mistakes", calls(500, 500, 120, status="INVALID_ARGUMENT"), "1h30m", fires=False),
    Case("CqmErrorBudgetBurnsFast", "a service behind the gateway, whose failures were repeated", calls(500, 500, 120, job="loyalty"),
         "1h30m", fires=False),
    Case("CqmErrorBudgetBurnsFast", "it is over: the short window ends the alert", calls(980, 20, 60, after=" 1200x60"), "1h10m",
         fires=False),
    Case("CqmErrorBudgetBurns", "one in a hundred fails for hours", calls(990, 10, 480), "7h"),
    Case("CqmErrorBudgetBurns", "one in five hundred fails", calls(998, 2, 480), "7h", fires=False),
    Case("CqmErrorBudgetBurns", "it is over", calls(990, 10, 360, after=" 3600x120"), "7h", fires=False),
    Case("CqmReaderLags", "both replicas tell of it, it fires once", lag("2000x30"), "20m", READER),
    Case("CqmReaderLags", "few events wait", lag("900x30"), "20m", fires=False),
    Case("CqmReaderLags", "a burst that is read within minutes", lag("5000x5 0x25"), "12m", fires=False),
    Case("CqmAggregatesParked", "one is", {PARKED: "0x5 1x20"}, "10m", READER),
    Case("CqmAggregatesParked", "none is", {PARKED: "0x25"}, "10m", fires=False),
    Case("CqmLogDiverged", "at once", {DIVERGED: "0 1x5"}, "1m", {"cqm_source": "complaints"}),
    Case("CqmLogDiverged", "the log is the one that was read", {DIVERGED: "0x5"}, "1m", fires=False),
    Case("CqmRedisLeftAlone", "again and again", {REDIS: "0+1x60"}, "40m", {"job": "cqm/complaints"}),
    Case("CqmRedisLeftAlone", "once", {REDIS: "0x10 1x50"}, "40m", fires=False),
    Case("CqmPoolExhausted", "some callers each second", {POOL: "0+60x30"}, "20m", {"job": "cqm/loyalty"}),
    Case("CqmPoolExhausted", "one burst", {POOL: "0x5 300x25"}, "20m", fires=False),
    Case("CqmMailWaits", "for half an hour", {MAIL: "1800x30"}, "10m"),
    Case("CqmMailWaits", "for a minute", {MAIL: "60x30"}, "10m", fires=False),
    Case("CqmWorkerFails", "each minute", {WORKER: "0+1x60"}, "40m", {"job": "cqm/surveys", "cqm_worker": "expire invitations"}),
    Case("CqmWorkerFails", "once", {WORKER: "0x10 1x50"}, "40m", fires=False),
    Case("CqmComplaintsLate", "both replicas tell of it, it fires once", {LATE % ("a", "BREACHED"): "12x60", LATE % ("b", "BREACHED"): "12x60"},
         "50m", {"cqm_clock": "RESOLUTION"}),
    Case("CqmComplaintsLate", "some are late, which the desk is told one by one", {LATE % ("a", "BREACHED"): "10x60"}, "50m", fires=False),
    Case("CqmComplaintsLate", "many run and are in time", {LATE % ("a", "RUNNING"): "500x60", LATE % ("a", "BREACHED"): "0x60"}, "50m",
         fires=False),
    Case("CqmComplaintsLate", "a morning's peak that is worked off", {LATE % ("a", "BREACHED"): "20x15 0x45"}, "25m", fires=False),
    Case("CqmLedgerFaulty", "a check found one, and nobody has looked since", {LEDGER: "0x60 1x660"}, "10h"),
    Case("CqmLedgerFaulty", "checks find nothing", {LEDGER: "0x720"}, "10h", fires=False),
    Case("CqmCertificateExpires", "in ten days", {CERTIFICATE: f"{10 * DAY}x90"}, "70m", {"job": "cqm/gateway"}),
    Case("CqmCertificateExpires", "in a month", {CERTIFICATE: f"{30 * DAY}x90"}, "70m", fires=False),
    Case("CqmCertificateExpires", "it was renewed", {CERTIFICATE: f"{10 * DAY}x30 {90 * DAY}x60"}, "70m", fires=False),
    Case("CqmCertificateExpiresSoon", "tomorrow", {CERTIFICATE: f"{DAY}x5"}, "1m", {"job": "cqm/gateway"}),
    Case("CqmCertificateExpiresSoon", "in ten days", {CERTIFICATE: f"{10 * DAY}x5"}, "1m", fires=False),
)


def tests(groups: list[dict], cases: tuple = CASES) -> list[dict]:
    """promtool's tests, one for each case."""
    alerts = {alert["alert"]: alert for group in groups for alert in group["rules"]}
    made = []
    for case in cases:
        alert = alerts[case.alert]
        expected = []
        if case.fires:
            expected = [{"exp_labels": {**alert["labels"], **case.labels}, "exp_annotations": _told(alert, case.labels)}]
        made.append({
            "name": f"{case.alert}: {case.what}",
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
            "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
        })
    return made


def as_rules(boards: dict) -> list[dict]:
    """The dashboards' queries as rules, which promtool reads; Grafana's variables stand for what it would put there."""
    groups = []
    for name, text in boards.items():
        queries = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
        told = [query.replace("$__rate_interval", "5m").replace("$service", "gateway") for query in queries]
        groups.append({"name": name, "rules": [{"record": f"{name}:{number}", "expr": query} for number, query in enumerate(told)]})
    return groups


def untested(groups: list[dict], cases: tuple = CASES) -> list[str]:
    """What no case shows."""
    names = [alert["alert"] for group in groups for alert in group["rules"]]
    shown = {(case.alert, case.fires) for case in cases}
    return [f"no case shows that {name} {'fires' if fires else 'does not fire'}"
            for name in names for fires in (True, False) if (name, fires) not in shown]


def _told(alert: dict, labels: dict) -> dict:
    """The annotations with the labels in their places."""
    told = {}
    for key, text in alert["annotations"].items():
        for label, value in labels.items():
            text = text.replace("{{ $labels." + label + " }}", value)
        told[key] = text
    return told
