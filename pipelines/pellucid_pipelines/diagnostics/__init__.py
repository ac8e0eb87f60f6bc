"""What goes wrong inside a network while it learns, named: rules over what was measured.

`findings` lists every fault that is known by name, `probes` measures layers on the device, and the
other modules hold the rules: pure functions from numbers to findings.
"""

from pellucid_pipelines.diagnostics.findings import KINDS, Finding, Kind, found

__all__ = ["KINDS", "Finding", "Kind", "found"]
