"""What was found in the windows of live traffic."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, Index, Integer, String, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from pellucid.db.base import Base


class MonitoringResultRow(Base):
    """A model version's window, as it was judged last."""

    __tablename__ = "monitoring_results"
    __table_args__ = (
        UniqueConstraint("model", "version", "start", "end"),
        Index("ix_monitoring_results_model_end_id", "model", "end", "id"),
        Index("ix_monitoring_results_end", "end"),
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    model: Mapped[str] = mapped_column(String(100))
    version: Mapped[int]
    start: Mapped[datetime]
    end: Mapped[datetime]  # not included
    rows: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))  # the worst of its signals
    complete: Mapped[bool] = mapped_column(server_default=true())  # else it is judged again
    scheduled: Mapped[bool] = mapped_column(server_default=true())  # else somebody asked for it
    alarms: Mapped[int]
    signals: Mapped[dict[str, Any]]  # {"signals": [...]}
    means: Mapped[dict[str, Any]]  # of outputs: what is read of many windows at once
    figures: Mapped[dict[str, Any]]
    judged_at: Mapped[datetime]


class MonitorPassRow(Base):
    """The monitor's last pass: one row."""

    __tablename__ = "monitor_passes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1
    at: Mapped[datetime]  # its end
    seconds: Mapped[float] = mapped_column(Double)
    judged: Mapped[int]
    behind: Mapped[int]  # windows that are due and not judged
    failed: Mapped[dict[str, Any]]  # model -> why
