"""Alerts: rules over signals, their history, and who is told.

engine.evaluate(database, model, version, at, signals)   after each window
engine.sweep(database, now)                              every few seconds, in the monitor, then
outbox.deliver(database, sinks, now)                     with `sinks.configured(settings)`
"""
