"""What telemetry costs: the same calls to the same service with it off and on."""

from __future__ import annotations

from lib import figures
from lib.figures import Row
from lib.processes import Keeper
from lib.readings import CUSTOMERS
from lib.rig import Rig, binary, free_address

# The share of throughput that tracing at the default of 1 % may cost.
ALLOWED = 0.05


class Telemetry:
    """GetCustomer, alone on its service, with nothing exported and with spans and metrics sent to a collector."""

    PROGRAMS = {"cqm-customer-data": "cqm-customer-data"}

    def __init__(self, rig: Rig):
        collector, address = Keeper(rig.folder, "collector"), free_address()
        rig.start(collector, address, [binary("load"), "sink", "--listen", address])

        def sent(sample: float) -> str:
            # And asked for, as the chart has it.
            return f'[telemetry]\nsample = {sample}\notlp_endpoint = "http://{address}"\nlisten = "{free_address()}"\n'

        self._rows = 0
        self._off = self._row(rig, "nothing is exported", "")
        self._default = self._row(rig, "metrics, and 1 % of the calls traced", sent(0.01))
        self._all = self._row(rig, "metrics, and every call traced", sent(1.0))
        self.rows = [self._off, self._default, self._all]

    def _row(self, rig: Rig, title: str, telemetry: str) -> Row:
        self._rows += 1
        first = self._rows == 1
        service = rig.service("customer-data", "per_core", more=telemetry, title=f"telemetry-{self._rows}")
        if first:
            self._names = rig.seed("customers", service, CUSTOMERS)
            rig.catch_up("customer_data")
        return Row(title, lambda: rig.load("get-customer", service.address, self._names, service.keeper), limit=first)

    def text(self) -> str:
        lines = ["## Telemetry", figures.table(self.rows), *figures.failures(self.rows)]
        if self._off.per_second and self._default.per_second:
            cost = 1 - self._default.per_second / self._off.per_second
            verdict = "within" if cost <= ALLOWED else "MORE THAN"
            lines.append(f"With 1 % of the calls traced {cost:.1%} of the calls per second are lost, {verdict} the {ALLOWED:.0%} "
                         "that are allowed.")
        lines.append(f"{CUSTOMERS:,} customers out of the cache, per_core: the calls that are cheapest, and so the ones that "
                     "telemetry shows in most. The collector, on the same cores, takes everything and forgets it.")
        return "\n\n".join(lines)
