"""The job queue: a table, claims by lease, and a fence on every write of an attempt."""

from pellucid.jobs.claims import Claims
from pellucid.jobs.requests import Requests
from pellucid.jobs.searches import Searches
from pellucid.jobs.table import Claim, Position

__all__ = ["Claim", "JobQueue", "Position"]


class JobQueue(Requests, Claims, Searches):
    """The job table from every side; `JobTable` says what it is built from."""
