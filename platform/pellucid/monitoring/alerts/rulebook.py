"""The rules in force: the newest that somebody has set, or else the defaults."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.alerts import RulesRow
from pellucid.jobs.rows import storable
from pellucid.monitoring.alerts.resources import RulesInForce, WantedRules
from pellucid.monitoring.alerts.rules import DEFAULT_RULES, Rules


def current(session: Session) -> Rules:
    """The rules, within a transaction."""
    row = _newest(session)
    return Rules.model_validate(row.rules) if row else DEFAULT_RULES


def in_force(database: Database) -> RulesInForce:
    """The rules, and who set them when."""
    with database.reading() as session:
        row = _newest(session)
        if row is None:
            return RulesInForce(rules=list(DEFAULT_RULES.rules), by="", since=None)
        rules = Rules.model_validate(row.rules)
        return RulesInForce(rules=list(rules.rules), by=row.by, since=row.created_at)


def replace(
    database: Database, wanted: WantedRules, moment: datetime | None = None
) -> RulesInForce:
    """Set all rules. Those that were in force before are kept, with who set them."""
    rules = Rules(rules=wanted.rules)
    with database.transaction() as session:
        session.add(
            RulesRow(
                rules=storable(rules.model_dump(mode="json")),
                by=storable(wanted.by),
                created_at=moment or now(),
            )
        )
    return in_force(database)


def _newest(session: Session) -> RulesRow | None:
    return session.scalars(select(RulesRow).order_by(RulesRow.id.desc()).limit(1)).first()
