"""Every table; importing this package fills `Base.metadata`."""

from pellucid.db.tables import alerts as alerts
from pellucid.db.tables import datasets as datasets
from pellucid.db.tables import jobs as jobs
from pellucid.db.tables import monitoring as monitoring
