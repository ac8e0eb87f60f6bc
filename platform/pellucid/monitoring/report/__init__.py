"""A window's report: one HTML file that needs nothing beside it."""

from pellucid.monitoring.report.page import render as render
